package core

import (
	"context"
	"fmt"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

// introduce makes the handshake: protocol, user, name, database, tracking.
func (l *line) introduce(ctx context.Context, c *conn) error {
	opt := &l.core.opt
	user, password, err := c.credentials(ctx)
	if err != nil {
		return err
	}
	hello := []string{"3"}
	if user != "" || password != "" {
		hello = append(hello, "AUTH", user, password)
	}
	hello = append(hello, "SETNAME", "redstart:"+l.kind.String())
	reqs := []request{plain("HELLO", hello...)}
	if opt.Endpoint.DB != 0 {
		reqs = append(reqs, plain("SELECT", fmt.Sprint(opt.Endpoint.DB)))
	}
	if l.kind.tracks() {
		reqs = append(reqs, plain("CLIENT", "TRACKING", "ON", "OPTOUT", "NOLOOP"))
	}
	replies, err := c.ask(ctx, reqs)
	if err != nil {
		return err
	}
	for i := range replies {
		if err := replies[i].Err(); err != nil {
			return err
		}
	}
	about, _ := replies[0].AsMap()
	role := about["role"]
	if text, _ := role.ToString(); opt.Endpoint.Mode == endpoint.Sentinel && text == "replica" {
		l.core.RefreshTopology()
		return fault.New(fault.ErrUnavailable, fmt.Errorf("%s is a replica now", l.node.address()), "retry after the failover")
	}
	return l.drain(ctx, c)
}

// credentials returns the user and the password that are valid now, or two empty strings.
func (c *conn) credentials(ctx context.Context) (user, password string, err error) {
	opt := &c.line.core.opt
	user, password = opt.Endpoint.Username, opt.Endpoint.Password
	if opt.Credentials != nil {
		got, err := opt.Credentials(ctx)
		if err != nil {
			return "", "", err
		}
		user, password = got.Username, got.Password
		if !got.RefreshAfter.IsZero() {
			c.refresh.Store(got.RefreshAfter.UnixNano())
		}
	}
	if user == "" && password != "" {
		user = "default"
	}
	return user, password, nil
}

// authenticate renews the credentials of an open connection.
func (c *conn) authenticate(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.line.core.opt.CommandTimeout)
	defer cancel()
	user, password, err := c.credentials(ctx)
	if err == nil {
		var replies []Reply
		if replies, err = c.ask(ctx, []request{plain("AUTH", user, password)}); err == nil {
			err = replies[0].Err()
		}
	}
	if err != nil {
		c.fail(err) // a new connection asks again
	}
}

// drainStep is how much of one connection a server reads, at least, before it looks at another again.
const drainStep = 16 << 10

// drain waits until the server has read what an ended connection may have left in its buffers. The server reads from all
// connections in turn, a chunk of each, so that as many answered PINGs as there were chunks prove it:
//
//	old connection   SET k old … │ (closed)
//	new connection               │ HELLO, PING ×n, SET k new
//
// Without this a lost write could be applied after a newer one (A3).
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
