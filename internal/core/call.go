package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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
	errDialLater   = errors.New("no dial while direct calls end")
)

// detached is the context of the client library's side of every call: no caller's
// deadline may end a dial or a connection that others share.
var detached = context.Background()

// Do runs one command, built with B, on the shared connection of its node: one round trip.
//
// It returns by ctx's end or the command timeout, whichever is earlier. The error has a class
// (see package fault); a nil reply is no error, ask the message's IsNil. The command must not be used again.
func (c *Core) Do(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	return c.do(ctx, c.main, cmd, cmd.IsReadOnly())
}

// DoTracked is Do on the tracked connection: the server will push an invalidation
// when a key that it read changes (see Hub). Where tracking is missing it is Do.
func (c *Core) DoTracked(ctx context.Context, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	return c.do(ctx, c.trackedLink(), cmd, cmd.IsReadOnly())
}

// DoMulti runs commands as one pipeline, grouped by node: one round trip per node. Each result has its own
// classified error; take results apart with Reply. Keep pipelines below 2,000 commands. The
// slice belongs to the call, also after it returned.
func (c *Core) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	return c.doMulti(ctx, c.main, cmds)
}

// DoMultiTracked is DoMulti on the tracked connection.
func (c *Core) DoMultiTracked(ctx context.Context, cmds ...rueidis.Completed) []rueidis.RedisResult {
	return c.doMulti(ctx, c.trackedLink(), cmds)
}

// Reply takes one result of DoMulti or EvalMulti apart, as Do would have returned it.
func Reply(r rueidis.RedisResult) (rueidis.RedisMessage, error) {
	if err := r.NonRedisError(); err != nil {
		return rueidis.RedisMessage{}, err // classified by the call
	}
	return reply(r, false)
}

// Eval runs a script, which must touch only keys of one slot: one round trip, two when the server
// has forgotten the script.
func (c *Core) Eval(ctx context.Context, s *script.Script, keys, args []string) (rueidis.RedisMessage, error) {
	return c.eval(ctx, c.main, s, keys, args)
}

// EvalTracked is Eval on the tracked connection: the keys that the script reads are tracked.
func (c *Core) EvalTracked(ctx context.Context, s *script.Script, keys, args []string) (rueidis.RedisMessage, error) {
	return c.eval(ctx, c.trackedLink(), s, keys, args)
}

func (c *Core) eval(ctx context.Context, l *link, s *script.Script, keys, args []string) (rueidis.RedisMessage, error) {
	msg, err := c.do(ctx, l, c.evalsha(s, keys, args), s.IsReadOnly())
	if err != nil && noScript(err) { // it was not run: running it now is no repetition
		return c.do(ctx, l, c.B().Eval().Script(s.Source()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build(), s.IsReadOnly())
	}
	return msg, err
}

// Call is one run of a script within EvalMulti.
type Call struct {
	Keys, Args []string
}

// EvalMulti runs a script many times as one pipeline: one round trip per node, two when a server has forgotten the script.
func (c *Core) EvalMulti(ctx context.Context, s *script.Script, calls []Call) []rueidis.RedisResult {
	return c.evalMulti(ctx, c.main, s, calls)
}

// EvalMultiTracked is EvalMulti on the tracked connection.
func (c *Core) EvalMultiTracked(ctx context.Context, s *script.Script, calls []Call) []rueidis.RedisResult {
	return c.evalMulti(ctx, c.trackedLink(), s, calls)
}

func (c *Core) evalMulti(ctx context.Context, l *link, s *script.Script, calls []Call) []rueidis.RedisResult {
	cmds := make([]rueidis.Completed, len(calls))
	for i, call := range calls {
		cmds[i] = c.evalsha(s, call.Keys, call.Args)
	}
	results := c.doMulti(ctx, l, cmds)
	var again []int
	for i, r := range results {
		if r.NonRedisError() == nil && noScript(r.Error()) {
			again = append(again, i)
		}
	}
	if again == nil {
		return results
	}
	cmds = make([]rueidis.Completed, len(again))
	for j, i := range again {
		cmds[j] = c.B().Eval().Script(s.Source()).Numkeys(int64(len(calls[i].Keys))).Key(calls[i].Keys...).Arg(calls[i].Args...).Build()
	}
	for j, r := range c.doMulti(ctx, l, cmds) {
		results[again[j]] = r
	}
	return results
}

func (c *Core) evalsha(s *script.Script, keys, args []string) rueidis.Completed {
	return c.B().Evalsha().Sha1(s.Digest()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build()
}

func (c *Core) do(ctx context.Context, l *link, cmd rueidis.Completed, readOnly bool) (rueidis.RedisMessage, error) {
	o, err := c.run(ctx, l, job{cmd: cmd}, c.node(cmd), !readOnly)
	if err == nil && readOnly && o.one.NonRedisError() != nil && ctx.Err() == nil {
		// The connection was lost, and asking twice does no harm.
		o, err = c.run(ctx, l, job{cmd: cmd}, c.node(cmd), false)
	}
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	return reply(o.one, !readOnly)
}

func (c *Core) doMulti(ctx context.Context, l *link, cmds []rueidis.Completed) []rueidis.RedisResult {
	if len(cmds) == 0 {
		return nil
	}
	wrote := slices.ContainsFunc(cmds, func(cmd rueidis.Completed) bool { return !cmd.IsReadOnly() })
	n := c.node(cmds[0])
	o, err := c.run(ctx, l, job{multi: cmds}, n, wrote)
	if err != nil {
		results := make([]rueidis.RedisResult, len(cmds))
		for i := range results {
			results[i] = rueidis.NewErrorResult(err)
		}
		return results
	}
	for i, r := range o.many {
		if err := r.NonRedisError(); err != nil {
			o.many[i] = rueidis.NewErrorResult(fault.Foreign(err, wrote))
		}
	}
	return o.many
}

// run hands a job to a worker and waits for its answer, ctx or the command timeout.
func (c *Core) run(ctx context.Context, l *link, j job, n *node, wrote bool) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, fault.Classify(ended(ctx), false)
	}
	if !n.allows() {
		return outcome{}, fault.Classify(errBreakerOpen, false)
	}
	var err error
	if j.client, err = l.get(ctx); err != nil {
		return outcome{}, err
	}
	if c.workers.abandoned.Load() > maxAbandoned {
		return outcome{}, fault.Classify(errOverloaded, false)
	}
	began := c.clock.Now()
	if o, woken, ok := c.direct(ctx, l, j); woken {
		return outcome{}, c.gaveUp(ctx, n, began, wrote)
	} else if ok {
		c.observe(n, o)
		return o, nil
	}
	if one := c.shortcut(j.client, j, n); one != nil {
		j.client = one
	}
	late := c.clock.Deadline()
	for {
		w := c.workers.get()
		if w == nil {
			return outcome{}, fault.Classify(errClosed, false)
		}
		w.in <- j
		select {
		case o := <-w.out:
			c.workers.put(w)
			if o.dialLater() {
				runtime.Gosched()
				continue // nothing was sent, and those ahead end soon
			}
			c.observe(n, o)
			return o, nil
		case <-ctx.Done():
		case <-late:
		}
		if o, ok := c.workers.abandon(w); ok && !o.dialLater() {
			c.observe(n, o)
			return o, nil
		}
		return outcome{}, c.gaveUp(ctx, n, began, wrote)
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

// observe tells the breaker how a call went.
func (c *Core) observe(n *node, o outcome) {
	err := o.err()
	if err != nil {
		c.lost(n)
		return
	}
	n.replied(c.clock.Now())
}

func reply(r rueidis.RedisResult, wrote bool) (rueidis.RedisMessage, error) {
	msg, err := r.ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		return rueidis.RedisMessage{}, fault.Foreign(err, wrote)
	}
	return msg, nil
}

func noScript(err error) bool {
	re, ok := errors.AsType[*rueidis.RedisError](err)
	return ok && re.IsNoScript()
}

// ping asks one node, whatever its breaker says.
func (c *Core) ping(ctx context.Context, n *node) error {
	client, err := c.main.get(ctx)
	if err != nil {
		return err
	}
	if c.cluster() {
		if client = client.Nodes()[n.addr]; client == nil {
			return fault.Classify(fmt.Errorf("%s is not in the cluster", n.addr), false)
		}
	}
	o, err := c.ask(ctx, client, client.B().Ping().Build())
	if err == nil {
		err = o.Error()
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
