package core

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// renewAtLeast is the least time between two questions for credentials for one connection. A
// RefreshAfter in the past would ask without a pause.
const renewAtLeast = keepAlive / 2

// credentials are the answers of Options.Credentials.
type credentials struct {
	last atomic.Pointer[rueidis.AuthCredentials]
}

// login returns the current user and password. Both are empty without credentials. A failure of the
// user's callback is no loss while the last credentials may still be valid: they are returned once
// more, and the callback is asked again soon.
func (c *Core) login(ctx context.Context) (rueidis.AuthCredentials, error) {
	if c.opt.Credentials == nil {
		return rueidis.AuthCredentials{Username: c.opt.Endpoint.Username, Password: c.opt.Endpoint.Password}, nil
	}

	got, err := c.askUser(ctx)
	soonest := time.Now().Add(renewAtLeast)
	if err != nil {
		last := c.credentials.last.Load()
		if last == nil || ctx.Err() != nil {
			return rueidis.AuthCredentials{}, err
		}
		c.Warn("redstart: Config.Credentials failed, the last credentials stay in use", "", "reason", err)
		got = *last
		got.RefreshAfter = soonest
		return got, nil
	}

	if !got.RefreshAfter.IsZero() && got.RefreshAfter.Before(soonest) {
		got.RefreshAfter = soonest
	}
	c.credentials.last.Store(&got)
	return got, nil
}

// askUser calls the user's callback. Its panic is an error.
func (c *Core) askUser(ctx context.Context) (got rueidis.AuthCredentials, err error) {
	returned := false
	defer func() {
		if cause := recover(); !returned {
			err = fmt.Errorf("Config.Credentials panicked: %v", cause)
		}
	}()
	got, err = c.opt.Credentials(ctx)
	returned = true
	return got, err
}

// login returns the credentials for this connection, and notes when to renew them.
func (c *conn) login(ctx context.Context) (rueidis.AuthCredentials, error) {
	got, err := c.line.core.login(ctx)
	if err == nil && !got.RefreshAfter.IsZero() {
		c.refresh.Store(got.RefreshAfter.UnixNano())
	}
	return got, err
}

// authenticate renews the credentials of an open connection. Calls on the connection continue. The
// server keeps the earlier login if it refuses the new one. So the connection stays open, and the
// next try follows.
func (c *conn) authenticate(ctx context.Context) {
	core := c.line.core
	ctx, cancel := context.WithTimeout(ctx, core.opt.CommandTimeout)
	defer cancel()

	got, err := c.login(ctx)
	if err == nil {
		var replies []Reply
		if replies, err = c.ask(ctx, []request{plain("AUTH", authArgs(got)...)}); err == nil {
			err = replies[0].Err()
		}
	}
	if err == nil || errors.Is(err, errClosed) {
		return
	}

	c.refresh.CompareAndSwap(0, time.Now().Add(renewAtLeast).UnixNano())
	core.Warn("redstart: cannot renew the credentials of a connection", c.line.node.addr, "node",
		c.line.node.address(), "connection", c.line.kind.String(), "reason", err)
}

// authArgs returns the arguments of AUTH. A password without a user has the form that servers
// without ACL users accept.
func authArgs(c rueidis.AuthCredentials) []string {
	if c.Username == "" {
		return []string{c.Password}
	}
	return []string{c.Username, c.Password}
}
