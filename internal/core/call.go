package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	errBreakerOpen = errors.New("circuit breaker open")
	errClosed      = errors.New("the client is closed")
	errSilent      = errors.New("command timeout")
)

// Do runs one command on the shared connection of its node: one round trip.
//
// It returns when ctx ends or after the command timeout, whichever is earlier. The error has a
// class (see package fault). A nil reply is not an error; see [Reply].IsNil.
func (c *Core) Do(ctx context.Context, cmd Command) (Reply, error) {
	r := c.request(cmd)
	return c.do(ctx, ordinary, &r, c.due())
}

// Ping asks a node for an answer: one round trip. It changes nothing, so its error is never
// ErrIndeterminate.
func (c *Core) Ping(ctx context.Context) error {
	_, err := c.Do(ctx, ReadAt("", "PING"))
	return err
}

// DoTracked is [Core.Do] on the tracked connection. The server pushes an invalidation when a key
// that the command has read changes (see [Core.Hub]). Without tracking, it is the same as Do.
func (c *Core) DoTracked(ctx context.Context, cmd Command) (Reply, error) {
	r := c.request(cmd)
	return c.do(ctx, tracked, &r, c.due())
}

// Eval runs a script, whose keys must be in one slot. It takes one round trip, or two if the server
// does not have the script.
func (c *Core) Eval(ctx context.Context, s *script.Script, keys, args []string) (Reply, error) {
	r := scripted(s, keys, args, c.cluster())
	return c.do(ctx, ordinary, &r, c.due())
}

// EvalAwaited is [Core.Eval] on the tracked connection, for a caller that then waits for a push as
// after [Core.DoMultiAwaited]. The server tracks the keys that the script reads.
func (c *Core) EvalAwaited(ctx context.Context, s *script.Script, keys, args []string) (Reply, error) {
	r := scripted(s, keys, args, c.cluster())
	r.awaits = true
	return c.do(ctx, tracked, &r, c.due())
}

// Timeout returns the command timeout: the longest time for a call whose context allows more.
func (c *Core) Timeout() time.Duration { return c.opt.CommandTimeout }

// due returns the end of a call that starts now, with all its tries.
func (c *Core) due() time.Duration { return c.clock.Now() + c.opt.CommandTimeout }

// do makes one call. It tries again where this repeats nothing; see retry.
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
		wait, ok := c.retry(r, err, due)
		if !ok {
			return Reply{}, err
		}
		if err := pause(ctx, wait, err); err != nil {
			return Reply{}, err
		}
	}
}

// begin refuses a call whose context has ended, and waits until the servers are known.
func (c *Core) begin(ctx context.Context, due time.Duration) error {
	if ctx.Err() != nil {
		return fault.Classify(contextError(ctx), false)
	}
	if c.facts.Load() == nil {
		return c.start(ctx, due)
	}
	return nil
}

// once sends a request to a node and waits for the reply, until ctx ends or the call is due.
func (c *Core) once(ctx context.Context, n *node, k kind, r *request, due time.Duration) (Reply, error) {
	l, err := c.line(ctx, n, k, r.readOnly, due)
	if err != nil {
		return Reply{}, err
	}
	reply, err := c.onLine(ctx, l, r, due)
	l.release()
	return reply, err
}

// onLine sends a request on a line and waits for the reply.
func (c *Core) onLine(ctx context.Context, l *line, r *request, due time.Duration) (Reply, error) {
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
	if r.awaits {
		conn.awaitPush()
	}

	c.account(ctx, n, call)
	if call.abandoned || call.err != nil {
		if call.abandoned {
			conn.sizeLater(call, one[:])
		}
		r.lost = call.err != nil && (r.readOnly || !call.written)
		return Reply{}, c.failure(ctx, n, call, !r.readOnly)
	}
	reply := call.replies[len(call.replies)-1] // the reply to ASKING, if any, comes before it
	c.free(call)
	return reply, nil
}

// kindOn replaces a tracked kind by the untracked one if the server does not push invalidations.
func (c *Core) kindOn(k kind) kind {
	if k.tracks() && !c.facts.Load().Capabilities.Tracking {
		k -= tracked
	}
	return k
}

// line returns the line for a call to a node. The caller releases it after use. reads reports
// whether the call only reads: short reads may borrow a line (see [pool.borrow]).
func (c *Core) line(ctx context.Context, n *node, k kind, reads bool, due time.Duration) (*line, error) {
	if !n.allows() {
		return nil, n.refused()
	}
	if k = c.kindOn(k); k.pooled() {
		return n.pools[k-large].take(ctx, due)
	}
	if reads && c.reading.Load() > 0 {
		if l := n.pools[k].borrow(); l != nil {
			return l, nil
		}
	}
	return &n.lines[k], nil
}

// release ends the use of a line.
func (l *line) release() {
	if l.kind.pooled() {
		l.node.pools[l.kind-large].give(l)
	}
}

// yield lets other goroutines run, so that their commands share a write, or their replies a read.
// While a caller reads a long reply, it does nothing: the goroutine would wait until the long reply
// has been read.
func (c *Core) yield() {
	if c.reading.Load() == 0 {
		runtime.Gosched()
	}
}

// unsent returns the error of a request that was not sent.
func (c *Core) unsent(r *request, err error) error {
	r.lost = !errors.Is(err, errOverloaded) && err != errClosed
	return fault.Foreign(err, false)
}

// account reports the outcome of a settled call to the breaker.
func (c *Core) account(ctx context.Context, n *node, k *call) {
	switch {
	case errors.Is(k.err, errClosed):
	case errors.Is(k.err, errSilent): // the connection was given up before the call ended
		c.silent(n, k.due-c.opt.CommandTimeout, k.err)
	case k.err != nil:
		c.lost(n, k.began, k.err)
	case !k.abandoned:
		c.replied(n, len(k.replies) > 0 && k.replies[0].Err() != nil)
	case ctx.Err() == nil:
		c.timeouts.Add(1)
		// the call may have waited for a connection before it was sent
		c.silent(n, k.due-c.opt.CommandTimeout, c.noAnswer(n))
	}
}

// failure returns the error of a settled call without a reply. writes reports whether the command
// writes.
func (c *Core) failure(ctx context.Context, n *node, k *call, writes bool) error {
	unknown := writes && k.written
	switch {
	case k.err != nil:
		return fault.Foreign(k.err, unknown)
	case ctx.Err() != nil:
		return fault.Classify(contextError(ctx), unknown)
	}
	return fault.Classify(c.noAnswer(n), unknown)
}

// noAnswer returns the error of a node that has not answered within the command timeout.
func (c *Core) noAnswer(n *node) error {
	return fmt.Errorf("no answer from %s within %v: %w", n.address(), c.opt.CommandTimeout, errSilent)
}

const (
	maxHops = 16 // redirections of the cluster that one call follows
	// pause before a command whose keys are being moved is sent again
	tryAgain = 5 * time.Millisecond
	// longest pause before a command that a former primary refused is sent again
	maxPause = 50 * time.Millisecond
)

// retry prepares a failed request for another try. It reports whether there is one, and the pause
// before it. It repeats only requests that were not executed, or that only read. A refusal of the
// server (NOSCRIPT, MOVED, ASK, TRYAGAIN, READONLY) means that nothing was executed. A request that
// was not written was not executed either.
func (c *Core) retry(r *request, err error, due time.Duration) (wait time.Duration, ok bool) {
	if c.clock.Now() >= due || r.hops >= maxHops {
		return 0, false
	}
	if r.lost {
		once := !r.repeated
		r.lost, r.repeated, r.to = false, true, nil
		return 0, once
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
			c.requestTopology()
		}
		return 0, true
	case "TRYAGAIN":
		r.to = nil
		return tryAgain, true
	case "READONLY": // the node is not the primary any more
		c.requestTopology()
		if c.cluster() {
			r.to = nil
			return min(tryAgain<<r.hops, maxPause), true
		}
	}
	return 0, false
}

// pause waits before another try of a call that failed. If ctx has ended, it returns the error of
// the call: the error of ctx, because earlier tries changed nothing. The refusal of the server is
// added if its reason may last.
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
		return fmt.Errorf("%w: %w", contextError(ctx), failed)
	}
	return fault.Classify(contextError(ctx), false)
}

// ask sends a command of the call layer itself to a node. It ignores the breaker.
func (c *Core) ask(ctx context.Context, n *node, name string, args ...string) (Reply, error) {
	conn, err := n.lines[ordinary].get(ctx, c.due())
	if err != nil {
		return Reply{}, err
	}

	replies, err := conn.ask(ctx, []request{plain(name, args...)})
	if err != nil {
		return Reply{}, fault.Foreign(err, false)
	}
	c.replied(n, replies[0].Err() != nil)
	return replies[0], replies[0].Err()
}

// contextError returns the error of ctx, with its cause if there is one.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
