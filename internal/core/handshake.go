package core

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/facts"
	"github.com/redstart-go/redstart/internal/fault"
)

// agreed is the result of the last handshake on an ordinary connection.
type agreed struct {
	resp2   atomic.Bool           // the connection uses RESP2
	unnamed atomic.Bool           // the server refused the connection's name
	hello   atomic.Pointer[hello] // its reply to HELLO 3, or nil
}

// hello is what a reply to HELLO states about the server.
type hello struct{ server, version, role string }

// errNeedsPushes is the error of a tracked connection to a server that has no RESP3.
var errNeedsPushes = errors.New("the server refused RESP3, which pushes of invalidations need")

// errNotRESP3 is the error of a handshake whose reply to HELLO 3 is no refusal, and no acceptance.
var errNotRESP3 = errors.New("the reply to HELLO 3 does not state protocol 3")

// handshake agrees on the protocol, and sends user, name, database and tracking mode.
func (l *line) handshake(ctx context.Context, c *conn) error {
	login, err := c.login(ctx)
	if err != nil {
		return err
	}

	role := ""
	if l.core.opt.Protocol == 2 {
		role, err = l.greet2(ctx, c, login)
	} else if role, err = l.greet3(ctx, c, login); err != nil && l.core.opt.Protocol == 0 &&
		(errors.Is(err, errNotRESP3) || refusesHello(fault.Text(err))) {
		role, err = l.greet2(ctx, c, login)
	}
	if err != nil {
		return err
	}

	if l.core.opt.Endpoint.Mode == endpoint.Sentinel && role == "replica" {
		l.core.requestTopology()
		return fault.New(fault.ErrUnavailable, fmt.Errorf("the sentinels name %s, but it is a replica", l.node.address()),
			"retry after the failover")
	}
	return l.drain(ctx, c)
}

// refusesHello reports whether an error reply to HELLO 3 means that the server, or a proxy before
// it, has no RESP3. Any other error would follow in RESP2 too. Redis words a refused login as
// "invalid username-password pair or user is disabled".
func refusesHello(text string) bool {
	switch code, _, _ := strings.Cut(text, " "); code {
	case "NOPROTO", "NOPERM":
		return true
	case "WRONGPASS", "NOAUTH":
		return false
	}
	text = strings.ToLower(text)
	for _, refusal := range []string{"unknown command", "unsupported", "not supported", "not allowed", "disabled"} {
		if strings.Contains(text, refusal) {
			return true
		}
	}
	return false
}

// name returns the name of the connection.
func (l *line) name() string { return l.core.opt.ClientName + ":" + l.kind.String() }

// greet3 makes the handshake of RESP3, in one round trip. role is the role of the server.
func (l *line) greet3(ctx context.Context, c *conn, login rueidis.AuthCredentials) (role string, err error) {
	args := []string{"3"}
	if login.Username != "" || login.Password != "" {
		user := login.Username
		if user == "" {
			user = "default"
		}
		args = append(args, "AUTH", user, login.Password)
	}
	reqs := []request{plain("HELLO", append(args, "SETNAME", l.name())...)}
	reqs = append(reqs, l.selects()...)
	if l.kind.tracks() {
		reqs = append(reqs, plain("CLIENT", "TRACKING", "ON", "OPTOUT", "NOLOOP"))
	}

	replies, err := c.ask(ctx, reqs)
	if err != nil {
		return "", err
	}
	if err := replies[0].Err(); err != nil {
		return "", err
	}
	about := helloOf(&replies[0])
	if about == nil {
		return "", fault.New(fault.ErrCorrupt, errNotRESP3, "use Config.Protocol 2")
	}
	for i := range replies {
		if err := replies[i].Err(); err != nil {
			return "", err
		}
	}

	if l.kind == ordinary {
		l.core.agreed.resp2.Store(false)
		l.core.agreed.unnamed.Store(false)
		l.core.agreed.hello.Store(about)
	}
	return about.role, nil
}

// helloOf reads a reply to HELLO 3. It returns nil if the reply does not state protocol 3: without
// it, pushes of invalidations can't be expected.
func helloOf(reply *Reply) *hello {
	fields, err := reply.AsMap()
	if err != nil {
		return nil
	}
	proto := fields["proto"]
	if n, err := proto.AsInt64(); err != nil || n != 3 {
		return nil
	}
	text := func(name string) string {
		field := fields[name]
		value, _ := field.ToString() // a field of another type is as good as none
		return facts.Short(value)
	}
	return &hello{text("server"), text("version"), text("role")}
}

// greet2 makes the handshake of RESP2, in one round trip. A server or a proxy may refuse the name
// of the connection, and the question for its role. A login without a user and a password is not
// sent.
func (l *line) greet2(ctx context.Context, c *conn, login rueidis.AuthCredentials) (role string, err error) {
	if l.kind.tracks() {
		l.core.relearn()
		return "", fault.New(fault.ErrUnavailable, errNeedsPushes, "retry: near caches are off from now on")
	}

	var reqs []request
	if login.Username != "" || login.Password != "" {
		reqs = append(reqs, plain("AUTH", authArgs(login)...))
	}
	reqs = append(reqs, l.selects()...)
	must := len(reqs)
	reqs = append(reqs, plain("CLIENT", "SETNAME", l.name()))
	if l.core.opt.Endpoint.Mode == endpoint.Sentinel {
		reqs = append(reqs, plain("ROLE"))
	}

	replies, err := c.ask(ctx, reqs)
	if err != nil {
		return "", err
	}
	for i := range must {
		if err := replies[i].Err(); err != nil {
			return "", err
		}
	}

	// without a login, the server may demand one in the reply to the name
	if err := replies[must].Err(); fault.Code(err) == "NOAUTH" {
		return "", err
	}
	if l.kind == ordinary {
		l.core.agreed.resp2.Store(true)
		l.core.agreed.unnamed.Store(replies[must].Err() != nil)
		l.core.agreed.hello.Store(nil)
	}
	if must+1 < len(replies) {
		if parts, err := replies[must+1].ToArray(); err == nil && len(parts) > 0 {
			if text, _ := parts[0].ToString(); text == "slave" {
				return "replica", nil
			}
		}
	}
	return "", nil
}

// selects returns the request that selects the database, if it is not 0.
func (l *line) selects() []request {
	if l.core.opt.Endpoint.DB == 0 {
		return nil
	}
	return []request{plain("SELECT", strconv.Itoa(l.core.opt.Endpoint.DB))}
}

// drainStep is the smallest number of bytes that a server reads from one connection before it reads
// from another.
const drainStep = 16 << 10

// drain waits until the server has read the bytes that an ended connection left in its buffers. The
// server reads a chunk from each connection in turn. As many answered PINGs as there were chunks
// prove that it has read them:
//
//	old connection   SET k old … │ (closed)
//	new connection               │ HELLO, PING ×n, SET k new
//
// Without drain, a lost write could be applied after a newer one (A3).
func (l *line) drain(ctx context.Context, c *conn) error {
	bytes := l.unanswered.Swap(0)
	if bytes == 0 {
		return nil
	}
	for range 1 + bytes/drainStep {
		if _, err := c.ask(ctx, []request{plain("PING")}); err != nil {
			l.unanswered.Add(bytes)
			return err
		}
	}
	return nil
}
