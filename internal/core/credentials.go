package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

const (
	// renewAtLeast is the least time between two questions for credentials for one connection. A
	// RefreshAfter in the past would ask without a pause.
	renewAtLeast = keepAlive / 2
	// answerWithin is the time limit of one call of the user's callback. It is longer than the time
	// limit of a connection, because a token service may be slow.
	answerWithin = 10 * time.Second
	// maxAsking is the largest number of calls of the user's callback that have not returned. More
	// than one call runs only if earlier ones ignore the end of their context.
	maxAsking = 4
)

// errTooManyAsking is the error of a call beyond maxAsking.
var errTooManyAsking = fmt.Errorf("%d calls of Config.Credentials ignore the end of their context", maxAsking)

// credentials are the answers of Options.Credentials.
type credentials struct {
	last atomic.Pointer[rueidis.AuthCredentials]

	mu      sync.Mutex
	current *asking       // the call whose answer is awaited, or nil
	asking  int           // calls that have not returned
	within  time.Duration // answerWithin, if a test does not shorten it
}

// asking is one call of the user's callback. All connections that need credentials in the meantime
// share it.
type asking struct {
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed after the fields below are set
	got    rueidis.AuthCredentials
	err    error
}

// login returns the current user and password. Both are empty without credentials. A failure of the
// user's callback is no loss while the last credentials may still be valid: they are returned once
// more, and the callback is asked again soon. A slow callback is a failure if the last credentials
// must be renewed; it continues, and a later login uses its answer.
func (c *Core) login(ctx context.Context) (rueidis.AuthCredentials, error) {
	if c.opt.Credentials == nil {
		return rueidis.AuthCredentials{Username: c.opt.Endpoint.Username, Password: c.opt.Endpoint.Password}, nil
	}

	last := c.credentials.last.Load()
	got, err := c.askUser(ctx, last != nil)
	if err == nil || last == nil || ctx.Err() != nil {
		return got, err
	}
	if errors.Is(err, errSilent) && (last.RefreshAfter.IsZero() || time.Now().Before(last.RefreshAfter)) {
		return *last, nil
	}
	c.Warn("redstart: Config.Credentials failed, the last credentials stay in use", "", "reason", err)
	got = *last
	got.RefreshAfter = time.Now().Add(renewAtLeast)
	return got, nil
}

// askUser returns the answer of the user's callback. It waits until ctx ends; with impatience, at
// most half of the command timeout, so that the caller has time for another login.
func (c *Core) askUser(ctx context.Context, impatient bool) (got rueidis.AuthCredentials, err error) {
	a, err := c.question()
	if err != nil {
		return got, err
	}
	var late <-chan time.Time
	if impatient {
		timer := time.NewTimer(c.opt.CommandTimeout / 2)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-a.done:
		return a.got, a.err
	case <-ctx.Done():
		err = contextError(ctx)
	case <-late:
		err = errSilent
	}
	return got, fault.New(fault.ErrUnavailable, fmt.Errorf("no answer of Config.Credentials: %w", err), "retry")
}

// question returns the current call of the user's callback. It starts one if there is none, or if
// the current one has not returned in its time.
func (c *Core) question() (*asking, error) {
	s := &c.credentials
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.current; a != nil && a.ctx.Err() == nil {
		return a, nil
	}
	if s.asking >= maxAsking {
		return nil, fault.New(fault.ErrUnavailable, errTooManyAsking, "end it with the context")
	}

	a := &asking{done: make(chan struct{})}
	a.ctx, a.cancel = context.WithTimeout(c.group.Context(), max(cmp.Or(s.within, answerWithin), c.opt.CommandTimeout))
	if !c.group.Go("Config.Credentials", func(context.Context) { c.call(a) }) {
		a.cancel()
		return nil, fault.Classify(errClosed, false)
	}
	s.current = a
	s.asking++
	return a, nil
}

// call calls the user's callback. Its panic is an error, and so is the end of its goroutine.
func (c *Core) call(a *asking) {
	a.err = errors.New("Config.Credentials ended its goroutine")
	defer c.answered(a)
	defer func() {
		if cause := recover(); cause != nil {
			a.err = fmt.Errorf("Config.Credentials panicked: %v", cause)
		}
	}()
	a.got, a.err = c.opt.Credentials(a.ctx)
}

// answered notes an answer. An answer that comes after a newer question is discarded.
func (c *Core) answered(a *asking) {
	defer close(a.done)
	defer a.cancel()
	s := &c.credentials
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking--
	if s.current != a {
		return
	}
	s.current = nil
	if a.err != nil {
		return
	}
	if soonest := time.Now().Add(renewAtLeast); !a.got.RefreshAfter.IsZero() && a.got.RefreshAfter.Before(soonest) {
		a.got.RefreshAfter = soonest
	}
	s.last.Store(&a.got)
}

// renewal is the time at which a connection must log in again.
type renewal struct {
	at atomic.Int64 // wall clock, ms; 0 means never
}

func (r *renewal) set(c rueidis.AuthCredentials) {
	if !c.RefreshAfter.IsZero() {
		r.at.Store(c.RefreshAfter.UnixMilli())
	}
}

// due reports whether the connection must log in again now. It does so once.
func (r *renewal) due() bool {
	at := r.at.Load()
	return at != 0 && time.Now().UnixMilli() >= at && r.at.CompareAndSwap(at, 0)
}

// renew logs an open connection in again. Calls on the connection continue. The server keeps the
// earlier login if it refuses the new one. So the connection stays open, and the next try follows.
func (c *Core) renew(ctx context.Context, r *renewal, auth func(ctx context.Context, args []string) error,
	node, connection string) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.CommandTimeout)
	defer cancel()

	got, err := c.login(ctx)
	if err == nil {
		r.set(got)
		err = auth(ctx, authArgs(got))
	}
	if err == nil || errors.Is(err, errClosed) || errors.Is(err, errReleased) {
		return
	}

	r.at.Store(time.Now().Add(renewAtLeast).UnixMilli())
	c.Warn("redstart: cannot renew the credentials of a connection", node, "node", node, "connection", connection,
		"reason", err)
}

// login returns the credentials for this connection, and notes when to renew them.
func (c *conn) login(ctx context.Context) (rueidis.AuthCredentials, error) {
	got, err := c.line.core.login(ctx)
	if err == nil {
		c.renewal.set(got)
	}
	return got, err
}

// authenticate renews the login of the connection.
func (c *conn) authenticate(ctx context.Context) {
	auth := func(ctx context.Context, args []string) error {
		replies, err := c.ask(ctx, []request{plain("AUTH", args...)})
		if err != nil {
			return err
		}
		return replies[0].Err()
	}
	c.line.core.renew(ctx, &c.renewal, auth, c.line.node.address(), c.line.kind.String())
}

// authArgs returns the arguments of AUTH. A password without a user has the form that servers
// without ACL users accept.
func authArgs(c rueidis.AuthCredentials) []string {
	if c.Username == "" {
		return []string{c.Password}
	}
	return []string{c.Username, c.Password}
}
