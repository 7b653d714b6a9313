package events

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed group.lua
	groupSource string
	//go:embed pause.lua
	pauseSource string

	groupScript = script.New(groupSource)
	pauseScript = script.New(pauseSource)
)

const (
	maxPage  = 1000
	scanPage = 512 // names of groups in one reply
)

// Group is a consumer group as the server has it, whether or not a subscriber runs.
type Group struct {
	Name      string
	Consumers int // processes that run it now; one that died counts for a lease
	// Seen is when a process of the group was last seen, to a minute; zero if it never was by this release.
	Seen time.Time
	// PausedSince is when the group was paused; zero if it is not.
	PausedSince time.Time
	Lag         int64         // events that wait on the server: not read yet, or parked
	Waiting     int64         // of them, the parked ones
	Pending     int64         // events that were read and not finished
	Delayed     int64         // events of the bus that are not due yet
	Dead        int64         // dead letters
	Oldest      time.Duration // age of the oldest event in Lag and Pending
}

// Drained reports whether the group has handled, or given up, everything that was published to the bus so far.
func (g Group) Drained() bool { return g.Lag+g.Pending+g.Delayed == 0 }

// Group describes one group: two round trips. Errors: ErrNotFound if no partition knows the group; redstart.ErrUnavailable if a node does
// not answer.
func (d *Durable) Group(ctx context.Context, name string) (Group, error) {
	if err := checkGroup(name); err != nil {
		return Group{}, err
	}
	if err := d.life.open(); err != nil {
		return Group{}, fmt.Errorf("events: group %s: %w", name, err)
	}
	all, there, err := d.describe(ctx, []string{name})
	if err == nil && !there[0] {
		err = ErrNotFound
	}
	if err != nil {
		return all[0], fmt.Errorf("events: group %s: %w", name, err)
	}
	return all[0], nil
}

// Groups describes up to limit groups whose names come after the given one ("" = from the first), by name. Fewer than limit are the last
// ones. It reads the names of all groups, 512 in one reply, and two round trips per 256 scripts: one script for a group and partition.
// limit is 1 to 1000.
func (d *Durable) Groups(ctx context.Context, after string, limit int) ([]Group, error) {
	if limit < 1 || limit > maxPage {
		return nil, fmt.Errorf("events: groups: the limit is %d: 1 to %d", limit, maxPage)
	}
	if err := d.life.open(); err != nil {
		return nil, fmt.Errorf("events: groups: %w", err)
	}
	names, err := d.groupNames(ctx, after, limit)
	if err == nil {
		var all []Group
		if all, _, err = d.describe(ctx, names); err == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("events: groups: %w", err)
}

// Orphans describes the groups that no process runs, and that none was seen to run for so long, or ever. They hold events until DropGroup. It
// pages through all groups; at most 1000 are returned.
func (d *Durable) Orphans(ctx context.Context, idle time.Duration) (orphans []Group, err error) {
	for after := ""; ; {
		page, err := d.Groups(ctx, after, scanPage)
		if err != nil {
			return nil, err
		}
		for _, g := range page {
			if g.Consumers == 0 && (g.Seen.IsZero() || time.Since(g.Seen) >= idle) && len(orphans) < maxPage {
				orphans = append(orphans, g)
			}
		}
		if len(page) < scanPage || len(orphans) == maxPage {
			return orphans, nil
		}
		after = page[len(page)-1].Name
	}
}

// groupNames are the first names after a name, of the groups of all partitions.
func (d *Durable) groupNames(ctx context.Context, after string, limit int) (names []string, err error) {
	for _, p := range d.parts {
		for cursor := "0"; ; {
			msg, err := d.core.Do(ctx, core.Read("SSCAN", p.groups, cursor, "COUNT", strconv.Itoa(scanPage)))
			if err != nil {
				return nil, err
			}
			reply := decode(msg, "groups", 2)
			cursor = reply.text("a cursor")
			some := reply.texts("names")
			if reply.err != nil {
				return nil, reply.err
			}
			names = firstAfter(append(names, some...), after, limit)
			if cursor == "0" {
				break
			}
		}
	}
	return names, nil
}

// firstAfter are the first names after a name, sorted, each once.
func firstAfter(names []string, after string, limit int) []string {
	names = slices.DeleteFunc(names, func(name string) bool { return name <= after })
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), limit)]
}

// describe describes groups, and reports which of them a partition knows.
func (d *Durable) describe(ctx context.Context, names []string) (all []Group, there []bool, err error) {
	all, there = make([]Group, len(names)), make([]bool, len(names))
	oldest := make([]int64, len(names)) // ms
	var now int64
	var calls []core.Call
	var of []int
	flush := func() {
		for j, result := range d.core.EvalMulti(ctx, groupScript, calls) {
			msg, failed := result.Get()
			var c groupCounts
			if failed == nil {
				c, failed = decodeGroup(msg)
			}
			if failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			now = max(now, c.now)
			all[of[j]].add(&c)
			there[of[j]] = there[of[j]] || c.registered
			if c.oldest > 0 && (oldest[of[j]] == 0 || c.oldest < oldest[of[j]]) {
				oldest[of[j]] = c.oldest
			}
		}
		calls, of = calls[:0], of[:0]
	}
	for i, name := range names {
		all[i].Name = name
		for _, p := range d.parts {
			calls, of = append(calls, d.groupCall(p, name)), append(of, i)
			if len(calls) == maxPipeline {
				flush()
			}
		}
	}
	flush()
	for i, ms := range oldest {
		if ms > 0 {
			all[i].Oldest = max(time.Duration(now-ms)*time.Millisecond, time.Millisecond)
		}
	}
	return all, there, errors.Join(err, d.describeRuns(ctx, all, now))
}

// describeRuns adds what the bus knows of the processes of groups.
func (d *Durable) describeRuns(ctx context.Context, all []Group, now int64) error {
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
			seen, err1 := replies[3*i].Get()
			paused, err2 := replies[3*i+1].Get()
			members, err3 := replies[3*i+2].Get()
			if err := errors.Join(err1, err2, err3); err != nil {
				return err
			}
			some[i].Seen, some[i].PausedSince = timeOf(seen), timeOf(paused)
			n, err := members.AsInt64()
			if err != nil {
				return unexpected("members", err)
			}
			some[i].Consumers = int(n)
		}
	}
	return nil
}

// timeOf is a time in ms, or zero if there is none.
func timeOf(msg core.Reply) time.Time {
	if ms, err := msg.AsInt64(); err == nil && !msg.IsNil() {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

// groupCounts is the answer of group.lua.
type groupCounts struct {
	registered                             bool
	unread, pending, parked, dead, delayed int64
	oldest, now                            int64 // ms; oldest 0: nothing waits
}

func (d *Durable) groupCall(p *partition, group string) core.Call {
	k := d.groupKeys(p, group)
	return core.Call{Keys: []string{p.stream, p.groups, k.group, k.heads, k.parked, k.dead, p.delayed, p.cut}, Args: []string{group}}
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

// membersKey is a sorted set of the processes of a group by the time at which they expire.
func (d *Durable) membersKey(group string) string { return d.space.Sibling("bus", "members:"+group) }

// Pause stops a group in all processes: no handler starts, running ones finish, and everything else is given back. A process obeys at its
// next heartbeat, which comes every second or every fifth of the lease, whichever is less; a process that does not reach the server
// stops when its lease ends. A process that does not reach the node of the bus' own keys alone keeps the last state that it knows. Events are
// kept, and trimmed, as for a group that does not run. A group may be paused before it exists. One round trip.
func (d *Durable) Pause(ctx context.Context, group string) error {
	return d.setPaused(ctx, group, true)
}

// Resume lets a paused group go on, within the time that Pause takes. One round trip.
func (d *Durable) Resume(ctx context.Context, group string) error {
	return d.setPaused(ctx, group, false)
}

func (d *Durable) setPaused(ctx context.Context, group string, on bool) error {
	if err := checkGroup(group); err != nil {
		return err
	}
	verb, arg := "resume", "0"
	if on {
		verb, arg = "pause", "1"
	}
	err := d.life.open()
	if err == nil {
		_, err = d.core.Eval(ctx, pauseScript, []string{d.meta}, []string{group, arg})
	}
	if err != nil {
		return fmt.Errorf("events: %s group %s: %w", verb, group, err)
	}
	return nil
}

// obey has the partitions given back while the group is paused, and kept when it no longer is. It reports whether it is.
func (r *durableRun) obey(paused bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.paused
	r.paused = paused
	r.sub.stats.paused.Store(paused)
	if !paused {
		if was {
			for _, x := range r.sessions {
				r.resumeLocked(x)
			}
		}
		return false
	}
	for _, x := range r.sessions {
		if x.phase.serves() {
			x.to(draining)
			x.kick()
		}
	}
	return true
}

// measure looks how far behind the group is in one partition, for Stats: one round trip.
func (r *durableRun) measure(ctx context.Context, x *session) {
	call := r.d.groupCall(x.p, r.sub.name)
	msg, err := x.eval(ctx, groupScript, call.Keys, call.Args)
	var c groupCounts
	if err == nil {
		c, err = decodeGroup(msg)
	}
	if err != nil {
		x.complain("a partition can't be measured", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x.lagged, x.waiting, x.dead, x.delayed, x.oldest = c.unread, c.parked, c.dead, c.delayed, time.Time{}
	if c.oldest > 0 {
		x.oldest = time.Now().Add(-max(time.Duration(c.now-c.oldest)*time.Millisecond, time.Millisecond))
	}
	r.sum()
}

// sum adds up what measure and the turns found.
func (r *durableRun) sum() {
	var lag, waiting, dead, delayed int64
	var oldest int64
	for _, x := range r.sessions {
		lag += x.lagged + x.waiting
		waiting += x.waiting
		dead += x.dead
		delayed += x.delayed
		if at := x.oldest; !at.IsZero() && (oldest == 0 || at.UnixNano() < oldest) {
			oldest = at.UnixNano()
		}
	}
	s := &r.sub.stats
	s.lag.Store(lag)
	s.waiting.Store(waiting)
	s.dead.Store(dead)
	s.delayed.Store(delayed)
	s.oldest.Store(oldest)
}
