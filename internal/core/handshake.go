package core

import (
	"context"
	"fmt"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

// handshake sends the protocol version, user, name, database and tracking mode.
func (l *line) handshake(ctx context.Context, c *conn) error {
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
		l.core.requestTopology()
		return fault.New(fault.ErrUnavailable, fmt.Errorf("%s is a replica now", l.node.address()),
			"retry after the failover")
	}
	return l.drain(ctx, c)
}

// credentials returns the current user and password, or two empty strings.
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
		c.fail(err) // the next connection asks for new credentials
	}
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
