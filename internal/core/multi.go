package core

import (
	"context"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

// DoMulti runs commands as one pipeline per node: one round trip, side by side. A node that does not
// answer fails its own commands alone. Each result has its own classified error; take results apart with
// Get. Keep pipelines below 2,000 commands. The slice belongs to the call, also after it returned.
func (c *Core) DoMulti(ctx context.Context, cmds ...rueidis.Completed) []Result {
	return results(c.doMulti(ctx, c.main, cmds, false, c.due()))
}

// DoMultiTracked is DoMulti on the tracked connection.
func (c *Core) DoMultiTracked(ctx context.Context, cmds ...rueidis.Completed) []Result {
	due := c.due()
	l, err := c.trackedLink(ctx, due)
	if err != nil {
		return results(failed(len(cmds), err))
	}
	return results(c.doMulti(ctx, l, cmds, false, due))
}

// Call is one run of a script within EvalMulti.
type Call struct {
	Keys, Args []string
}

// EvalMulti runs a script many times as one pipeline per node: one round trip, two when a server has forgotten the script.
func (c *Core) EvalMulti(ctx context.Context, s *script.Script, calls []Call) []Result {
	return results(c.evalMulti(ctx, c.main, s, calls, c.due()))
}

// EvalMultiTracked is EvalMulti on the tracked connection.
func (c *Core) EvalMultiTracked(ctx context.Context, s *script.Script, calls []Call) []Result {
	due := c.due()
	l, err := c.trackedLink(ctx, due)
	if err != nil {
		return results(failed(len(calls), err))
	}
	return results(c.evalMulti(ctx, l, s, calls, due))
}

func (c *Core) evalMulti(ctx context.Context, l *link, s *script.Script, calls []Call, due time.Duration) []rueidis.RedisResult {
	cmds := make([]rueidis.Completed, len(calls))
	for i, call := range calls {
		cmds[i] = c.evalsha(s, call.Keys, call.Args)
	}
	results := c.doMulti(ctx, l, cmds, s.IsReadOnly(), due)
	var again []rueidis.Completed
	var at []int
	for i, r := range results {
		if r.NonRedisError() == nil && noScript(r.Error()) {
			again, at = append(again, c.evalSource(s, calls[i].Keys, calls[i].Args)), append(at, i)
		}
	}
	for k, r := range c.doMulti(ctx, l, again, s.IsReadOnly(), due) {
		results[at[k]] = r
	}
	return results
}

// part is what one node gets of a pipeline.
type part struct {
	n    *node
	cmds []rueidis.Completed
	at   []int // where the results belong
	call sent
	err  error
}

func (c *Core) doMulti(ctx context.Context, l *link, cmds []rueidis.Completed, readOnly bool, due time.Duration) []rueidis.RedisResult {
	if len(cmds) == 0 {
		return nil
	}
	n, parts := c.split(cmds)
	if parts == nil {
		o, err := c.run(ctx, l, job{multi: cmds}, n, wrote(cmds, readOnly), due)
		return c.settle(ctx, l, part{n: n, cmds: cmds, err: err}, o, readOnly, due)
	}
	for _, p := range parts {
		client, err := c.admit(ctx, l, p.n, due)
		if err == nil {
			p.call, err = c.send(l, job{client: client, multi: p.cmds}, p.n)
		}
		p.err = err
	}
	results := make([]rueidis.RedisResult, len(cmds))
	for _, p := range parts {
		var o outcome
		if p.err == nil {
			o, p.err = c.await(ctx, p.call, wrote(p.cmds, readOnly), due)
		}
		for i, r := range c.settle(ctx, l, *p, o, readOnly, due) {
			results[p.at[i]] = r
		}
	}
	return results
}

// split sorts a pipeline by node; no parts if there is only one.
func (c *Core) split(cmds []rueidis.Completed) (only *node, parts []*part) {
	only = c.node(cmds[0])
	if !c.cluster() {
		return only, nil
	}
	byNode := map[*node]*part{}
	for i, cmd := range cmds {
		n := c.node(cmd)
		p := byNode[n]
		if p == nil {
			p = &part{n: n}
			byNode[n] = p
			parts = append(parts, p)
		}
		p.cmds, p.at = append(p.cmds, cmd), append(p.at, i)
	}
	if len(parts) == 1 {
		return parts[0].n, nil
	}
	return nil, parts
}

// settle classifies what became of a part, and asks again once for what was lost and was read only, as Do does.
func (c *Core) settle(ctx context.Context, l *link, p part, o outcome, readOnly bool, due time.Duration) []rueidis.RedisResult {
	if p.err != nil {
		return failed(len(p.cmds), p.err)
	}
	if o.err() == nil {
		return o.many
	}
	var again []rueidis.Completed
	var at []int
	for i, r := range o.many {
		err := r.NonRedisError()
		if err == nil {
			continue
		}
		writes := !readOnly && !p.cmds[i].IsReadOnly()
		if !writes {
			again, at = append(again, p.cmds[i].Pin()), append(at, i)
		}
		o.many[i] = rueidis.NewErrorResult(fault.Foreign(err, writes))
	}
	if again == nil || ctx.Err() != nil || c.clock.Now() >= due {
		return o.many
	}
	second, err := c.run(ctx, l, job{multi: again}, p.n, false, due)
	if err != nil {
		return o.many
	}
	for k, r := range second.many {
		if err := r.NonRedisError(); err != nil {
			r = rueidis.NewErrorResult(fault.Foreign(err, false))
		}
		o.many[at[k]] = r
	}
	return o.many
}

// wrote reports whether a pipeline without an answer may have changed something.
func wrote(cmds []rueidis.Completed, readOnly bool) bool {
	return !readOnly && slices.ContainsFunc(cmds, func(cmd rueidis.Completed) bool { return !cmd.IsReadOnly() })
}

func failed(n int, err error) []rueidis.RedisResult {
	results := make([]rueidis.RedisResult, n)
	for i := range results {
		results[i] = rueidis.NewErrorResult(err)
	}
	return results
}

// results converts what the client library answered.
func results(from []rueidis.RedisResult) []Result {
	all := make([]Result, len(from))
	for i, r := range from {
		if err := r.NonRedisError(); err != nil {
			all[i].err = err // classified by the call
			continue
		}
		all[i].reply, all[i].err = ReplyOf(r, false)
	}
	return all
}
