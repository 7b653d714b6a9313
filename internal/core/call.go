package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	errBreakerOpen = errors.New("the server did not answer lately (circuit breaker open)")
	errOverloaded  = errors.New("too many calls without an answer")
	errClosed      = errors.New("the client is closed")
	errSilent      = errors.New("command timeout")
	errDirectDial  = fault.New(fault.ErrUnavailable, errors.New("the connection is being made anew"), "retry")
)

// detached is the context of the client library's side of every call: no caller's
// deadline may end a dial or a connection that others share.
var detached = context.Background()

// Do runs one command, built with B, on the shared connection of its node: one round trip.
//
// It returns by ctx's end or the command timeout, whichever is earlier. The error has a class
// (see package fault); a nil reply is no error, ask the message's IsNil. The command must not be used again.
func (c *Core) Do(ctx context.Context, cmd rueidis.Completed) (Reply, error) {
	return c.do(ctx, c.main, cmd, cmd.IsReadOnly(), c.due())
}

// Ping asks a node for an answer: one round trip. It changes nothing, so its error is never ErrIndeterminate.
func (c *Core) Ping(ctx context.Context) error {
	_, err := c.do(ctx, c.main, c.B().Ping().Build(), true, c.due())
	return err
}

// DoTracked is Do on the tracked connection: the server will push an invalidation
// when a key that it read changes (see Hub). Where tracking is missing it is Do.
func (c *Core) DoTracked(ctx context.Context, cmd rueidis.Completed) (Reply, error) {
	due := c.due()
	l, err := c.trackedLink(ctx, due)
	if err != nil {
		return Reply{}, err
	}
	return c.do(ctx, l, cmd, cmd.IsReadOnly(), due)
}

// Eval runs a script, which must touch only keys of one slot: one round trip, two when the server
// has forgotten the script.
func (c *Core) Eval(ctx context.Context, s *script.Script, keys, args []string) (Reply, error) {
	return c.eval(ctx, c.main, s, keys, args, c.due())
}

// EvalTracked is Eval on the tracked connection: the keys that the script reads are tracked.
func (c *Core) EvalTracked(ctx context.Context, s *script.Script, keys, args []string) (Reply, error) {
	due := c.due()
	l, err := c.trackedLink(ctx, due)
	if err != nil {
		return Reply{}, err
	}
	return c.eval(ctx, l, s, keys, args, due)
}

func (c *Core) eval(ctx context.Context, l *link, s *script.Script, keys, args []string, due time.Duration) (Reply, error) {
	msg, err := c.do(ctx, l, c.evalsha(s, keys, args), s.IsReadOnly(), due)
	if err != nil && noScript(err) { // it was not run: running it now is no repetition
		return c.do(ctx, l, c.evalSource(s, keys, args), s.IsReadOnly(), due)
	}
	return msg, err
}

func (c *Core) evalsha(s *script.Script, keys, args []string) rueidis.Completed {
	return c.B().Evalsha().Sha1(s.Digest()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

func (c *Core) evalSource(s *script.Script, keys, args []string) rueidis.Completed {
	return c.B().Eval().Script(s.Source()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

// due is when a call that begins now has to be over, whatever is tried until then.
func (c *Core) due() time.Duration { return c.clock.Now() + c.opt.CommandTimeout }

func (c *Core) do(ctx context.Context, l *link, cmd rueidis.Completed, readOnly bool, due time.Duration) (Reply, error) {
	n := c.node(cmd)
	o, err := c.run(ctx, l, job{cmd: cmd}, n, !readOnly, due)
	if err == nil && readOnly && o.one.NonRedisError() != nil && ctx.Err() == nil && c.clock.Now() < due {
		// The connection was lost, and asking twice does no harm. The lost connection's writer may still hold the command.
		o, err = c.run(ctx, l, job{cmd: cmd.Pin()}, c.node(cmd), false, due)
	}
	if err != nil {
		return Reply{}, err
	}
	return ReplyOf(o.one, !readOnly)
}

// run makes a call and waits for its answer, for ctx or until it is due.
func (c *Core) run(ctx context.Context, l *link, j job, n *node, wrote bool, due time.Duration) (outcome, error) {
	client, err := c.admit(ctx, l, n, due)
	if err != nil {
		return outcome{}, err
	}
	j.client = client
	began := c.clock.Now()
	if o, woken, ok := c.direct(ctx, l, j, due); woken {
		return outcome{}, c.gaveUp(ctx, n, began, wrote)
	} else if ok {
		c.observe(n, &o, began)
		return o, nil
	}
	call, err := c.send(l, j, n)
	if err != nil {
		return outcome{}, err
	}
	return c.await(ctx, call, wrote, due)
}

// admit says whether a call may go out now, and through which client.
func (c *Core) admit(ctx context.Context, l *link, n *node, due time.Duration) (rueidis.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Classify(ended(ctx), false)
	}
	if !n.allows() {
		return nil, fault.Classify(errBreakerOpen, false)
	}
	if client := l.client.Load(); client != nil {
		return *client, nil
	}
	began := c.clock.Now()
	client, err := l.get(ctx, due)
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, errClosed):
	case errors.Is(err, fault.ErrUnavailable):
		if c.clock.Now()-began < c.opt.CommandTimeout/2 {
			c.lost(n, began) // refused
		} else {
			c.silent(n, began)
		}
	}
	return client, err
}

// sent is a call that a worker makes.
type sent struct {
	w     *worker
	l     *link
	n     *node
	began time.Duration
	era   int64
}

func (c *Core) send(l *link, j job, n *node) (sent, error) {
	if c.workers.abandoned.Load() > maxAbandoned {
		return sent{}, fault.Classify(errOverloaded, false)
	}
	w := c.workers.get()
	if w == nil {
		return sent{}, fault.Classify(errClosed, false)
	}
	j.ring = l.ring
	if one := c.shortcut(j.client, j, n); one != nil {
		j.client, j.fallback = one, j.client
		j.pin()
	}
	call := sent{w, l, n, c.clock.Now(), l.era.Load()}
	w.in <- j
	return call, nil
}

func (c *Core) await(ctx context.Context, call sent, wrote bool, due time.Duration) (outcome, error) {
	select {
	case o := <-call.w.out:
		c.workers.put(call.w)
		c.answered(call, &o)
		return o, nil
	case <-ctx.Done():
	case <-c.clock.At(due):
	}
	if o, ok := c.workers.abandon(call.w); ok {
		c.answered(call, &o)
		return o, nil
	}
	return outcome{}, c.gaveUp(ctx, call.n, call.began, wrote)
}

func (c *Core) answered(call sent, o *outcome) {
	if c.observe(call.n, o, call.began) {
		call.l.prove(call.era)
	}
}

// gaveUp is the error of a call that did not wait for its answer any longer.
func (c *Core) gaveUp(ctx context.Context, n *node, began time.Duration, wrote bool) error {
	if ctx.Err() != nil {
		return fault.Classify(ended(ctx), wrote)
	}
	c.timeouts.Add(1)
	c.silent(n, began)
	return fault.Classify(fmt.Errorf("no answer within %v: %w", c.opt.CommandTimeout, errSilent), wrote)
}

// observe tells the breaker how a call went, and reports whether it was answered.
func (c *Core) observe(n *node, o *outcome, began time.Duration) bool {
	if err := o.err(); err != nil {
		if !errors.Is(err, errDirectDial) {
			c.lost(n, began)
		}
		return false
	}
	n.replied(c.clock.Now())
	return true
}

func noScript(err error) bool { return fault.Code(err) == "NOSCRIPT" }

// ping asks one node, whatever its breaker says.
func (c *Core) ping(ctx context.Context, n *node) error {
	client, err := c.main.get(ctx, c.due())
	if err != nil {
		return err
	}
	if c.cluster() && n != &c.topology.seeds {
		if client = client.Nodes()[n.addr]; client == nil {
			return fault.Classify(fmt.Errorf("%s is not in the cluster", n.addr), false)
		}
	}
	o, err := c.ask(ctx, client, client.B().Ping().Build())
	if err == nil {
		err = o.NonRedisError()
	}
	if err == nil {
		n.replied(c.clock.Now())
	}
	return err
}

// ask runs one command past the breaker, for the connection layer itself.
func (c *Core) ask(ctx context.Context, client rueidis.Client, cmd rueidis.Completed) (rueidis.RedisResult, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.CommandTimeout)
	defer cancel()
	w := c.workers.get()
	if w == nil {
		return rueidis.RedisResult{}, fault.Classify(errClosed, false)
	}
	w.in <- job{client: client, cmd: cmd}
	select {
	case o := <-w.out:
		c.workers.put(w)
		return o.one, nil
	case <-ctx.Done():
	}
	if o, ok := c.workers.abandon(w); ok {
		return o.one, nil
	}
	return rueidis.RedisResult{}, fault.Classify(fmt.Errorf("no answer within %v: %w", c.opt.CommandTimeout, errSilent), false)
}

// Timeout is how long a call may take, when its context allows more.
func (c *Core) Timeout() time.Duration { return c.opt.CommandTimeout }
