package events

import (
	"context"
	_ "embed"
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

	// groupScript only corrects scores, and a second run finds nothing to correct. So a call whose
	// reply is lost runs again, as a read.
	groupScript = script.ReadOnly(script.UndeclaredKeys + groupSource)
	pauseScript = script.New(pauseSource)
)

const (
	maxPage  = 1000
	scanPage = 512 // names of groups in one reply
)

// Group is the state of a consumer group on the server, whether or not a subscriber runs.
type Group struct {
	Name      string
	Consumers int // processes that run it; a dead process counts for one lease
	// Seen is when a process of the group was last seen, to one minute. It is zero if this release
	// never saw one.
	Seen time.Time
	// PausedSince is when the group was paused; zero if it is not paused.
	PausedSince time.Time
	Lag         int64         // events that wait on the server: unread or parked
	Waiting     int64         // parked events, included in Lag
	Pending     int64         // events that were read and are not acknowledged
	Delayed     int64         // events of the bus that are not due yet
	Dead        int64         // dead letters
	Oldest      time.Duration // age of the oldest event of Lag and Pending
}

// Drained reports whether the group has handled or given up all events that were published so far.
func (g Group) Drained() bool { return g.Lag+g.Pending+g.Delayed == 0 }

// Group returns the state of one group: two round trips. Errors: ErrNotFound if no partition knows
// the group; redstart.ErrUnavailable if a node does not answer, or if the reply is lost twice.
func (d *Durable) Group(ctx context.Context, name string) (Group, error) {
	if err := checkGroup(name); err != nil {
		return Group{}, err
	}
	if err := d.life.open(); err != nil {
		return Group{}, fmt.Errorf("events: group %s: %w", name, err)
	}
	g := d.describe(ctx, []string{name}, d.groupCall)[0]
	if g.err == nil && !g.known {
		g.err = ErrNotFound
	}
	if g.err != nil {
		return g.Group, fmt.Errorf("events: group %s: %w", name, g.err)
	}
	return g.Group, nil
}

// Groups returns the state of up to limit groups, sorted by name, whose names follow after ("" =
// from the first). A shorter result is the last page. limit is 1 to 1000. It reads the names of all
// groups, 512 in one reply, and takes two round trips per 256 scripts: one script for each group
// and partition.
func (d *Durable) Groups(ctx context.Context, after string, limit int) ([]Group, error) {
	if limit < 1 || limit > maxPage {
		return nil, fmt.Errorf("events: groups: limit is %d: want 1 to %d", limit, maxPage)
	}
	if err := d.life.open(); err != nil {
		return nil, fmt.Errorf("events: groups: %w", err)
	}
	names, err := d.groupNames(ctx, after, limit)
	if err == nil {
		var all []Group
		if all, err = groupsOf(d.describe(ctx, names, d.groupCall)); err == nil {
			return all, nil
		}
	}
	return nil, fmt.Errorf("events: groups: %w", err)
}

// AbandonedGroups returns the groups that no process runs and that were last seen at least idle
// ago, or never. They keep events until DropGroup. It reads all groups and returns at most 1000.
func (d *Durable) AbandonedGroups(ctx context.Context, idle time.Duration) (left []Group, err error) {
	for after := ""; ; {
		page, err := d.Groups(ctx, after, scanPage)
		if err != nil {
			return nil, err
		}
		for _, g := range page {
			if g.Consumers == 0 && (g.Seen.IsZero() || d.core.Time().Since(g.Seen) >= idle) && len(left) < maxPage {
				left = append(left, g)
			}
		}
		if len(page) < scanPage || len(left) == maxPage {
			return left, nil
		}
		after = page[len(page)-1].Name
	}
}

// groupNames returns the first names after a name, of the groups of all partitions.
func (d *Durable) groupNames(ctx context.Context, after string, limit int) (names []string, err error) {
	for _, p := range d.parts {
		if names, err = d.addNames(ctx, p, names, after, limit); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// addNames returns the first names after a name, of given names and the groups of a partition.
func (d *Durable) addNames(ctx context.Context, p *partition, names []string, after string, limit int) ([]string, error) {
	for cursor := "0"; ; {
		msg, err := d.core.Do(ctx, core.Read("SSCAN", p.groups, cursor, "COUNT", strconv.Itoa(scanPage)))
		if err != nil {
			return names, err
		}
		reply := decode(msg, "groups", 2)
		cursor = reply.text("a cursor")
		some := reply.texts("names")
		if reply.err != nil {
			return names, reply.err
		}
		names = firstAfter(append(names, some...), after, limit)
		if cursor == "0" {
			return names, nil
		}
	}
}

// firstAfter returns the first names after a name, sorted, each once. It leaves out names that no
// group can have.
func firstAfter(names []string, after string, limit int) []string {
	names = slices.DeleteFunc(names, func(name string) bool { return name <= after || len(name) > maxGroup })
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), limit)]
}

// timeOf returns a time from ms, or zero if the reply is nil.
func timeOf(msg core.Reply) time.Time {
	if ms, err := msg.AsInt64(); err == nil && !msg.IsNil() {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

// membersKey is the key of a sorted set: the processes of a group by the time at which they expire.
func (d *Durable) membersKey(group string) string { return d.space.Sibling("bus", "members:"+group) }

// Pause pauses a group in all processes: no handler starts, running handlers finish, and the other
// events are given back without an attempt. A process obeys at its next heartbeat, which comes
// every second, or every fifth of the lease if that is less. A process that does not reach the
// server stops when its lease ends. Limit: a process that does not reach only the node of the bus'
// own keys keeps its last state. Events of a paused group are kept and trimmed like those of a
// group that does not run. A group may be paused before it exists. One round trip.
func (d *Durable) Pause(ctx context.Context, group string) error {
	return d.setPaused(ctx, group, true)
}

// Resume ends a pause, within the time that Pause takes. One round trip.
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

// applyPause gives the partitions back while the group is paused, and keeps them otherwise. It
// returns paused.
func (r *durableRun) applyPause(paused bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.paused
	r.paused = paused
	r.sub.stats.paused.Store(paused)
	if !paused {
		if was {
			for _, c := range r.consumers {
				r.resumeLocked(c)
			}
		}
		return false
	}
	for _, c := range r.consumers {
		if c.phase.serves() {
			c.to(draining)
			c.wake()
		}
	}
	return true
}

// measure counts the events that wait for the group in one partition, for Stats: one round trip.
func (r *durableRun) measure(ctx context.Context, c *partitionConsumer) {
	call := r.d.groupCall(c.p, r.sub.name)
	msg, err := c.eval(ctx, groupScript, call.Keys, call.Args)
	var counts groupCounts
	if err == nil {
		counts, err = decodeGroup(msg)
	}
	if err != nil {
		c.logFailure("events: a partition was not measured", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.unreadEvents, c.waiting, c.dead, c.delayed, c.oldest = counts.unread, counts.parked, counts.dead, counts.delayed, time.Time{}
	if counts.oldest > 0 {
		c.oldest = time.Now().Add(-max(time.Duration(counts.now-counts.oldest)*time.Millisecond, time.Millisecond))
	}
	r.sum()
}

// sum adds up the counts of measure and of the polls.
func (r *durableRun) sum() {
	var lag, waiting, dead, delayed int64
	var oldest int64
	for _, c := range r.consumers {
		lag += c.unreadEvents + c.waiting
		waiting += c.waiting
		dead += c.dead
		delayed += c.delayed
		if at := c.oldest; !at.IsZero() && (oldest == 0 || at.UnixNano() < oldest) {
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
