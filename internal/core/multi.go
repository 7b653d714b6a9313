package core

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

// DoMulti runs commands as one pipeline per node, all nodes at the same time: one round trip. If a
// node does not answer, only its own commands fail. Each result has its own classified error; read
// it with [Result.Get]. Pipelines should have fewer than 2,000 commands.
func (c *Core) DoMulti(ctx context.Context, cmds ...Command) []Result {
	return c.multi(ctx, ordinary, c.requests(cmds))
}

// DoMultiTracked is [Core.DoMulti] on the tracked connection.
func (c *Core) DoMultiTracked(ctx context.Context, cmds ...Command) []Result {
	return c.multi(ctx, tracked, c.requests(cmds))
}

// DoMultiAwaited is [Core.DoMultiTracked] for a caller that then waits for a push. The connection
// reads pushes at once, and not only after it was idle for a millisecond. The price is a switch of
// goroutines for the next call, so it is for reads without a near-cached result.
func (c *Core) DoMultiAwaited(ctx context.Context, cmds ...Command) []Result {
	reqs := c.requests(cmds)
	for i := range reqs {
		reqs[i].awaits = true
	}
	return c.multi(ctx, tracked, reqs)
}

// Call is one run of a script in [Core.EvalMulti].
type Call struct {
	Keys, Args []string
	// Before is sent right before the run, to the same node, unless it is the zero Command. If
	// Before fails, the call has its error.
	Before Command
}

// EvalMulti runs a script many times, as one pipeline per node. It takes one round trip, or two if
// a server does not have the script.
func (c *Core) EvalMulti(ctx context.Context, s *script.Script, calls []Call) []Result {
	return c.evalMulti(ctx, ordinary, s, calls)
}

// EvalMultiTracked is [Core.EvalMulti] on the tracked connection.
func (c *Core) EvalMultiTracked(ctx context.Context, s *script.Script, calls []Call) []Result {
	return c.evalMulti(ctx, tracked, s, calls)
}

func (c *Core) evalMulti(ctx context.Context, k kind, s *script.Script, calls []Call) []Result {
	reqs := make([]request, 0, len(calls))
	for i := range calls {
		call := &calls[i]
		if call.Before.name != "" {
			reqs = append(reqs, c.request(call.Before))
		}
		reqs = append(reqs, scripted(s, call.Keys, call.Args, c.cluster()))
	}
	results := c.multi(ctx, k, reqs)
	if len(results) == len(calls) {
		return results
	}

	at := 0
	for i := range calls {
		first := results[at]
		if calls[i].Before.name != "" {
			at++
		}
		if results[i] = results[at]; first.err != nil {
			results[i] = first
		}
		at++
	}
	return results[:len(calls)]
}

func (c *Core) requests(cmds []Command) []request {
	reqs := make([]request, len(cmds))
	for i, cmd := range cmds {
		reqs[i] = c.request(cmd)
	}
	return reqs
}

// part is the requests of a pipeline for one node.
type part struct {
	n    *node
	kind kind
	reqs []request
	at   []int // indexes of the results; nil if they are in order
	line *line
	conn *conn
	call *call
	err  error
}

// multi makes the calls. It tries failed calls again where this repeats nothing (see retry).
func (c *Core) multi(ctx context.Context, k kind, reqs []request) []Result {
	if len(reqs) == 0 {
		return nil
	}
	results := make([]Result, len(reqs))
	due := c.due()
	if len(reqs) == 1 { // this needs no allocations for a pipeline
		results[0].reply, results[0].err = c.do(ctx, k, &reqs[0], due)
		return results
	}
	if err := c.begin(ctx, due); err != nil {
		return failed(results, err)
	}

	parts := c.split(k, reqs, nil, results)
	for len(parts) > 0 {
		c.round(ctx, parts, due)
		var left []request
		var at []int
		var wait time.Duration // one pause for all requests of a round
		for _, p := range parts {
			c.collect(ctx, p, results)
			for i := range p.reqs {
				j := p.place(i)
				if results[j].err == nil {
					continue
				}
				if after, ok := c.retry(&p.reqs[i], results[j].err, due); ok {
					left, at, wait = append(left, p.reqs[i]), append(at, j), max(wait, after)
				}
			}
		}
		if len(left) == 0 {
			break
		}
		if pause(ctx, wait, nil) != nil {
			for _, j := range at {
				results[j] = Result{err: pause(ctx, 0, results[j].err)}
			}
			break
		}
		parts = c.split(k, left, at, results)
	}
	return results
}

// split sorts a pipeline by node. A request without a known node fails.
func (c *Core) split(k kind, reqs []request, at []int, results []Result) []*part {
	if !c.cluster() {
		return []*part{{n: c.topology.single, kind: c.kindForAll(k, reqs), reqs: reqs, at: at}}
	}
	var parts []*part
	byNode := make(map[*node]*part)
	for i, r := range reqs {
		j := i
		if at != nil {
			j = at[i]
		}
		n, err := c.nodeOf(&r)
		if err != nil {
			results[j].err = err
			continue
		}
		p := byNode[n]
		if p == nil {
			p = &part{n: n}
			byNode[n] = p
			parts = append(parts, p)
		}
		p.reqs, p.at = append(p.reqs, r), append(p.at, j)
	}
	for _, p := range parts {
		p.kind = c.kindForAll(k, p.reqs)
	}
	return parts
}

// round sends all parts and waits for all replies. A part that may wait for a connection does not
// delay the others.
func (c *Core) round(ctx context.Context, parts []*part, due time.Duration) {
	if len(parts) == 1 {
		c.launch(ctx, parts[0], due)
		parts[0].wait()
		return
	}
	var apart sync.WaitGroup
	var here []*part
	for _, p := range parts {
		if p.kind.pooled() || p.n.lines[c.kindOn(p.kind)].conn.Load() == nil { // launch may wait
			apart.Go(func() { c.launch(ctx, p, due); p.wait() })
			continue
		}
		c.launch(ctx, p, due)
		here = append(here, p)
	}
	for _, p := range here {
		p.wait()
	}
	apart.Wait()
}

func (p *part) wait() {
	if p.call != nil {
		p.conn.wait(p.call)
		if p.reqs[0].awaits {
			p.conn.awaitPush()
		}
	}
	if p.line != nil {
		p.line.release()
	}
}

// launch sends a part.
func (c *Core) launch(ctx context.Context, p *part, due time.Duration) {
	reads := c.reading.Load() > 0 && !slices.ContainsFunc(p.reqs, func(r request) bool { return !r.readOnly })
	if p.line, p.err = c.line(ctx, p.n, p.kind, reads, due); p.err != nil {
		return
	}
	if p.conn, p.err = p.line.get(ctx, due); p.err != nil {
		return
	}
	call := c.newCall(ctx, due, c.clock.Now())
	if err := p.conn.send(call, p.reqs); err != nil {
		for i := range p.reqs {
			p.err = c.unsent(&p.reqs[i], err)
		}
		return
	}
	p.call = call
}

// collect stores the results of a part.
func (c *Core) collect(ctx context.Context, p *part, results []Result) {
	k := p.call
	if k != nil {
		c.account(ctx, p.n, k)
		if k.abandoned {
			p.conn.sizeLater(k, p.reqs)
		}
	}
	next := 0
	for i := range p.reqs {
		r, j := &p.reqs[i], p.place(i)
		switch {
		case k == nil:
			results[j].err = p.err
		case next+r.replies() <= len(k.replies):
			next += r.replies()
			results[j].reply = k.replies[next-1]
			results[j].err = results[j].reply.Err()
			c.sized(p.kind, r, &results[j].reply)
		default: // the connection ended before this reply, or the caller left
			results[j].err = c.failure(ctx, p.n, k, !r.readOnly)
			r.lost = k.err != nil && (r.readOnly || !k.written)
			next = len(k.replies)
		}
	}
	if k != nil {
		c.free(k)
	}
}

// place returns the index of the result of a request.
func (p *part) place(i int) int {
	if p.at == nil {
		return i
	}
	return p.at[i]
}

func failed(results []Result, err error) []Result {
	for i := range results {
		results[i].err = err
	}
	return results
}
