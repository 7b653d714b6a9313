package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	errBreakerOpen = errors.New("the server did not answer lately (circuit breaker open)")
	errClosed      = errors.New("the client is closed")
	errSilent      = errors.New("command timeout")
)

// Do runs one command on the shared connection of its node: one round trip.
//
// It returns by ctx's end or the command timeout, whichever is earlier. The error has a class
// (see package fault); a nil reply is no error, ask the reply's IsNil.
func (c *Core) Do(ctx context.Context, cmd Command) (Reply, error) {
	r := c.request(cmd)
	return c.do(ctx, ordinary, &r, c.due())
}

// Ping asks a node for an answer: one round trip. It changes nothing, so its error is never ErrIndeterminate.
func (c *Core) Ping(ctx context.Context) error {
	_, err := c.Do(ctx, ReadAt("", "PING"))
	return err
}

// DoTracked is Do on the tracked connection: the server will push an invalidation
// when a key that it read changes (see Hub). Where tracking is missing it is Do.
func (c *Core) DoTracked(ctx context.Context, cmd Command) (Reply, error) {
	r := c.request(cmd)
	return c.do(ctx, tracked, &r, c.due())
}

// Eval runs a script, which must touch only keys of one slot: one round trip, two when the server
// has forgotten the script.
func (c *Core) Eval(ctx context.Context, s *script.Script, keys, args []string) (Reply, error) {
	r := scripted(s, keys, args, c.cluster())
	return c.do(ctx, ordinary, &r, c.due())
}

// EvalTracked is Eval on the tracked connection: the keys that the script reads are tracked.
func (c *Core) EvalTracked(ctx context.Context, s *script.Script, keys, args []string) (Reply, error) {
	r := scripted(s, keys, args, c.cluster())
	return c.do(ctx, tracked, &r, c.due())
}

// Timeout is how long a call may take, when its context allows more.
func (c *Core) Timeout() time.Duration { return c.opt.CommandTimeout }

// due is when a call that begins now has to be over, whatever is tried until then.
func (c *Core) due() time.Duration { return c.clock.Now() + c.opt.CommandTimeout }

// do makes one call, again where that repeats nothing: see again.
func (c *Core) do(ctx context.Context, k kind, r *request, due time.Duration) (Reply, error) {
	if err := c.begin(ctx, due); err != nil {
		return Reply{}, err
	}
	k = c.kindFor(k, r)
	for {
		n, err := c.nodeOf(r)
		if err != nil {
			return Reply{}, err
		}
		reply, err := c.once(ctx, n, k, r, due)
		if err == nil {
			c.sized(k, r, &reply)
		}
		if err == nil {
			err = reply.Err()
		}
		if err == nil {
			return reply, nil
		}
		wait, ok := c.again(r, err, due)
		if !ok {
			return Reply{}, err
		}
		if err := pause(ctx, wait, err); err != nil {
			return Reply{}, err
		}
	}
}

// begin refuses a call whose time is over, and waits until the servers are known.
func (c *Core) begin(ctx context.Context, due time.Duration) error {
	if ctx.Err() != nil {
		return fault.Classify(ended(ctx), false)
	}
	if c.facts.Load() == nil {
		return c.start(ctx, due)
	}
	return nil
}

// once sends a request to a node and waits for the reply, for ctx, or until it is due.
func (c *Core) once(ctx context.Context, n *node, k kind, r *request, due time.Duration) (Reply, error) {
	l, err := c.line(ctx, n, k, due)
	if err != nil {
		return Reply{}, err
	}
	reply, err := c.over(ctx, l, r, due)
	l.release()
	return reply, err
}

// over is once on a connection.
func (c *Core) over(ctx context.Context, l *line, r *request, due time.Duration) (Reply, error) {
	conn, err := l.get(ctx, due)
	if err != nil {
		return Reply{}, err
	}
	n := l.node
	call := c.newCall(ctx, due, c.clock.Now())
	one := [1]request{*r}
	if err := conn.send(call, one[:]); err != nil {
		return Reply{}, c.unsent(r, err)
	}
	conn.wait(call)
	c.account(ctx, n, call)
	if call.gone || call.err != nil {
		r.lost = call.err != nil && (r.readOnly || !call.written)
		return Reply{}, c.failure(ctx, n, call, !r.readOnly)
	}
	reply := call.replies[len(call.replies)-1] // before it there is that of ASKING
	c.free(call)
	return reply, nil
}

// kindOn is the kind of connection in place of another: where the server does not push invalidations, none is tracked.
func (c *Core) kindOn(k kind) kind {
	if k.tracks() && !c.facts.Load().Capabilities.Tracking {
		k -= tracked
	}
	return k
}

// line is the connection that a call to a node takes. It calls release after its use.
func (c *Core) line(ctx context.Context, n *node, k kind, due time.Duration) (*line, error) {
	if !n.allows() {
		return nil, n.refused()
	}
	if k = c.kindOn(k); k.pooled() {
		return n.pools[k-large].take(ctx, due)
	}
	return &n.lines[k], nil
}

// release ends the use of a connection.
func (l *line) release() {
	if l.kind.pooled() {
		l.node.pools[l.kind-large].give(l)
	}
}

// unsent is the error of a request that never left.
func (c *Core) unsent(r *request, err error) error {
	r.lost = !errors.Is(err, errOverloaded) && !errors.Is(err, errClosed)
	return fault.Foreign(err, false)
}

// account tells the breaker how a settled call went.
func (c *Core) account(ctx context.Context, n *node, k *call) {
	switch {
	case k.err == errClosed:
	case errors.Is(k.err, errSilent): // the connection was given up before the call was
		c.silent(n, k.due-c.opt.CommandTimeout)
	case k.err != nil:
		c.lost(n, k.began)
	case !k.gone:
		n.replied(c.clock.Now())
	case ctx.Err() == nil:
		c.timeouts.Add(1)
		c.silent(n, k.due-c.opt.CommandTimeout) // it may have waited for a connection before it was sent
	}
}

// failure is the error of a settled call that has no reply, for a command that writes or not.
func (c *Core) failure(ctx context.Context, n *node, k *call, writes bool) error {
	unknown := writes && k.written
	switch {
	case k.err != nil:
		return fault.Foreign(k.err, unknown)
	case ctx.Err() != nil:
		return fault.Classify(ended(ctx), unknown)
	}
	return fault.Classify(fmt.Errorf("no answer from %s within %v: %w", n.address(), c.opt.CommandTimeout, errSilent), unknown)
}

const (
	maxHops  = 16                    // how often a call follows the cluster's redirections
	tryAgain = 5 * time.Millisecond  // before a command is sent again whose keys are being moved
	maxPause = 50 * time.Millisecond // before a command is sent again that a former primary refused
)

// again prepares a request that failed for another try. It reports whether there is one, and after which pause. It repeats
// only what was not executed, or what only reads. A refusal by the server (NOSCRIPT, MOVED, ASK, TRYAGAIN, READONLY)
// executes nothing. A request that was never written was not executed either.
func (c *Core) again(r *request, err error, due time.Duration) (wait time.Duration, ok bool) {
	if c.clock.Now() >= due || r.hops >= maxHops {
		return 0, false
	}
	if r.lost {
		again := !r.repeated
		r.lost, r.repeated, r.to = false, true, nil
		return 0, again
	}
	r.hops++
	switch code, rest, _ := strings.Cut(fault.Text(err), " "); code {
	case "NOSCRIPT":
		if r.script == nil || r.source {
			return 0, false
		}
		r.source = true
		return 0, true
	case "MOVED", "ASK":
		_, addr, ok := strings.Cut(rest, " ")
		if !c.cluster() || !ok || addr == "" {
			return 0, false
		}
		r.asking = code == "ASK"
		r.to = c.nodeAt(addr)
		if !r.asking {
			c.RefreshTopology()
		}
		return 0, true
	case "TRYAGAIN":
		r.to = nil
		return tryAgain, true
	case "READONLY": // it was the primary until now
		c.RefreshTopology()
		if c.cluster() {
			r.to = nil
			return min(tryAgain<<r.hops, maxPause), true
		}
	}
	return 0, false
}

// pause waits before another try of a call that failed with an error. If ctx has ended, it returns the error of the call:
// ctx's own, because earlier tries changed nothing. Where the server refuses for a reason that may last, the reason is added.
func pause(ctx context.Context, d time.Duration, failed error) error {
	if d > 0 && ctx.Err() == nil {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		return nil
	}
	if code := fault.Code(failed); code != "" && code != "NOSCRIPT" {
		return fmt.Errorf("%w: %w", ended(ctx), failed)
	}
	return fault.Classify(ended(ctx), false)
}

// ask sends a command of the connection layer itself to a node, past its breaker.
func (c *Core) ask(ctx context.Context, n *node, name string, args ...string) (Reply, error) {
	conn, err := n.lines[ordinary].get(ctx, c.due())
	if err != nil {
		return Reply{}, err
	}
	replies, err := conn.ask(ctx, []request{plain(name, args...)})
	if err != nil {
		return Reply{}, fault.Foreign(err, false)
	}
	n.replied(c.clock.Now())
	return replies[0], replies[0].Err()
}

// ended is why ctx ended: its error, with the cause where there is one.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
