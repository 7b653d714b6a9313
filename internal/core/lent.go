package core

import (
	"cmp"
	"context"
	"errors"

	"github.com/redis/rueidis"
)

// lentConn is a connection that the pool of the client library has handed out for a long time. The
// pool stops the timer that would renew its login, so the Core renews it.
type lentConn struct {
	client  *foreignClient
	conn    rueidis.DedicatedClient
	addr    string
	renewal renewal
}

// errReleased is the error of a login on a connection that was given back in the meantime.
var errReleased = errors.New("the connection was given back")

// lend renews the login of conn until done is called. The first renewal follows within half a
// second: the time of the login that the library has sent is not known.
func (f *foreignClient) lend(conn rueidis.DedicatedClient, addr string) (done func()) {
	if f.core.opt.Credentials == nil {
		return func() {}
	}
	l := &lentConn{client: f, conn: conn, addr: addr}
	l.renewal.at.Store(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lent == nil {
		f.lent = make(map[*lentConn]struct{})
	}
	f.lent[l] = struct{}{}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.lent, l)
	}
}

// renewLogins starts the renewals that are due.
func (f *foreignClient) renewLogins() {
	f.mu.Lock()
	var due []*lentConn
	for l := range f.lent {
		if l.renewal.due() {
			due = append(due, l)
		}
	}
	f.mu.Unlock()
	for _, l := range due {
		f.core.group.Go("new credentials", l.authenticate)
	}
}

func (l *lentConn) authenticate(ctx context.Context) {
	auth := func(ctx context.Context, args []string) error {
		err := l.conn.Do(ctx, l.conn.B().Arbitrary("AUTH").Args(args...).Build()).Error()
		if err != nil && !l.isLent() {
			return errReleased
		}
		return err
	}
	node := l.addr
	if single := l.client.core.topology.single; single != nil {
		node = cmp.Or(node, single.address())
	}
	l.client.core.renew(ctx, &l.renewal, auth, node, "pubsub")
}

func (l *lentConn) isLent() bool {
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	_, lent := l.client.lent[l]
	return lent
}
