package events

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// groupState is what the partitions of a bus have about a group.
type groupState struct {
	Group
	known  bool  // a partition has the group
	oldest int64 // time of the oldest event that waits, ms; 0 if none waits
	failed int   // partitions that could not be read
	err    error // the first failure, of a partition or of the bus' own keys
}

// fail records a failure.
func (g *groupState) fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// groupsOf returns the groups, or the first failure.
func groupsOf(states []groupState) ([]Group, error) {
	all := make([]Group, len(states))
	for i := range states {
		if states[i].err != nil {
			return nil, states[i].err
		}
		all[i] = states[i].Group
	}
	return all, nil
}

// describe returns the states of groups. call makes the runs of group.lua.
func (d *Durable) describe(ctx context.Context, names []string, call func(*partition, string) core.Call) []groupState {
	all := make([]groupState, len(names))
	var now int64
	var calls []core.Call
	var of []*groupState
	flush := func() {
		for j, result := range d.core.EvalMulti(ctx, groupScript, calls) {
			now = max(now, of[j].read(result))
		}
		calls, of = calls[:0], of[:0]
	}
	for i, name := range names {
		all[i].Name = name
		for _, p := range d.parts {
			calls, of = append(calls, call(p, name)), append(of, &all[i])
			if len(calls) == maxPipeline {
				flush()
			}
		}
	}
	flush()

	for i := range all {
		if g := &all[i]; g.oldest > 0 {
			g.Oldest = max(time.Duration(now-g.oldest)*time.Millisecond, time.Millisecond)
		}
	}
	d.describeRuns(ctx, all, now)
	return all
}

// read adds the state of one partition. It returns the time of the server, or 0 if it is not known.
func (g *groupState) read(result core.Result) (now int64) {
	c, err := groupOf(result)
	if err != nil {
		g.failed++
		g.fail(err)
		return 0
	}
	g.add(&c)
	g.known = g.known || c.registered
	if c.oldest > 0 && (g.oldest == 0 || c.oldest < g.oldest) {
		g.oldest = c.oldest
	}
	return c.now
}

// describeRuns adds what the bus' own keys have about groups: processes and pauses.
func (d *Durable) describeRuns(ctx context.Context, all []groupState, now int64) {
	for len(all) > 0 {
		some := all[:min(len(all), maxPipeline)]
		all = all[len(some):]
		var cmds []core.Command
		for i := range some {
			name := some[i].Name
			cmds = append(cmds, core.Read("HGET", d.topicsKey(name), seenField), core.Read("HGET", d.meta, "paused:"+name),
				core.Read("ZCOUNT", d.membersKey(name), strconv.FormatInt(now, 10), "+inf"))
		}
		replies := d.core.DoMulti(ctx, cmds...)
		for i := range some {
			g := &some[i]
			seen, err1 := replies[3*i].Get()
			paused, err2 := replies[3*i+1].Get()
			members, err3 := replies[3*i+2].Get()
			if err := cmp.Or(err1, err2, err3); err != nil {
				g.fail(err)
				continue
			}
			g.Seen, g.PausedSince = timeOf(seen), timeOf(paused)
			n, err := members.AsInt64()
			if err != nil {
				g.fail(unexpected("members", err))
				continue
			}
			g.Consumers = int(n)
		}
	}
}

// groupCounts is the reply of group.lua.
type groupCounts struct {
	registered                             bool
	unread, pending, parked, dead, delayed int64
	oldest, now                            int64 // ms; oldest is 0 if no event waits
}

func (d *Durable) groupCall(p *partition, group string) core.Call {
	k := d.groupKeys(p, group)
	return core.Call{Keys: []string{p.stream, p.groups, k.group, k.heads, k.parked, k.dead, p.delayed, p.cut}, Args: []string{group}}
}

func groupOf(result core.Result) (c groupCounts, err error) {
	msg, err := result.Get()
	if err != nil {
		return c, err
	}
	return decodeGroup(msg)
}

func decodeGroup(msg core.Reply) (c groupCounts, err error) {
	d := decode(msg, "a group", 8)
	c.registered = d.number("whether it is registered") == 1
	c.unread, c.pending, c.parked = d.number("unread"), d.number("pending"), d.number("parked")
	c.dead, c.delayed = d.number("dead"), d.number("delayed")
	c.oldest = int64(d.score("the oldest"))
	c.now = d.number("the time")
	return c, d.err
}

func (g *Group) add(c *groupCounts) {
	g.Lag += c.unread + c.parked
	g.Waiting += c.parked
	g.Pending += c.pending
	g.Dead += c.dead
	g.Delayed += c.delayed
}
