package events

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/eventview"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed within.lua
	withinSource string // a part of look.lua and tail.lua
	//go:embed look.lua
	lookSource string
	//go:embed blocked.lua
	blockedSource string
	//go:embed waiting.lua
	waitingSource string

	lookScript    = script.ReadOnly(withinSource + lookSource)
	blockedScript = script.ReadOnly(script.UndeclaredKeys + blockedSource)
	waitingScript = script.ReadOnly(waitingSource)
)

// view is a durable bus for package inspect. It registers no metrics, starts no goroutine and never
// creates the bus.
type view struct{ d *Durable }

var _ = eventview.Register(openView)

func openView(ctx context.Context, c *core.Core, name string) (eventview.Bus, error) {
	space, err := c.Keys("events", name)
	if err != nil {
		return nil, err
	}
	msg, err := c.Do(ctx, core.Read("HGET", space.Key(eventview.BusTag), "partitions"))
	if err != nil {
		return nil, err
	}
	if msg.IsNil() {
		return nil, eventview.ErrNoBus
	}
	stored, err := msg.AsInt64()
	if err != nil || stored < 1 || stored > maxPartitions {
		return nil, fault.New(fault.ErrCorrupt, fmt.Errorf("the stored number of partitions is not 1 to %d", maxPartitions), "")
	}

	d := &Durable{bus: name, space: space, meta: space.Key(eventview.BusTag),
		opt:       DurableOptions{Partitions: int(stored), MaxBytes: defaultMaxSize},
		busCommon: busCommon{core: c, name: name, maxBytes: defaultMaxSize, foreign: true}}
	d.parts = partitionsOf(space, int(stored))
	d.life.init()
	return view{d}, nil
}

func (v view) Partitions() int { return len(v.d.parts) }

func (v view) PartitionOf(channel string) int { return partitionOf(channel, len(v.d.parts)) }

// Describe returns the state of partitions: two round trips per 256 of them. A partition that
// can't be read has a problem. Describe fails if none can be read.
func (v view) Describe(ctx context.Context, group string, first, limit int) ([]eventview.Partition, error) {
	last := min(first+limit, len(v.d.parts))
	all := make([]eventview.Partition, 0, max(last-first, 0))
	var failed error
	failures := 0
	for ; first < last; first = min(first+maxPipeline, last) {
		some, errs := v.describe(ctx, group, first, min(first+maxPipeline, last))
		for i, err := range errs {
			if err != nil {
				some[i] = eventview.Partition{Index: first + i, Problem: err.Error()}
				failures++
				failed = cmp.Or(failed, err)
			}
		}
		all = append(all, some...)
	}
	if failures > 0 && (failures == len(all) || ctx.Err() != nil) {
		return nil, failed
	}
	return all, nil
}

// describe returns the states of partitions, each with its own error.
func (v view) describe(ctx context.Context, group string, first, last int) (all []eventview.Partition, errs []error) {
	const each = 5
	parts := v.d.parts[first:last]
	var cmds []core.Command
	var calls []core.Call
	for _, p := range parts {
		k := v.d.groupKeys(p, group)
		cmds = append(cmds, core.Read("XLEN", p.stream), core.Read("ZCARD", p.delayed), core.Read("SCARD", p.groups),
			core.Read("GET", k.lease), core.Read("PTTL", k.lease))
		calls = append(calls, v.lookAt(p, group))
	}

	replies := v.d.core.DoMulti(ctx, cmds...)
	all, errs = make([]eventview.Partition, len(parts)), make([]error, len(parts))
	for i := range all {
		all[i].Index = first + i
		errs[i] = decodePartition(&all[i], replies[each*i:each*(i+1)])
	}
	if group == "" {
		return all, errs
	}
	for i, result := range v.d.core.EvalMulti(ctx, groupScript, calls) {
		c, err := groupOf(result)
		if err != nil {
			errs[i] = cmp.Or(errs[i], err)
			continue
		}
		all[i].Counts = countsOf(&c)
		if c.oldest > 0 {
			all[i].Oldest = time.Duration(max(c.now-c.oldest, 1)) * time.Millisecond
		}
	}
	return all, errs
}

// decodePartition reads the replies to the commands of one partition, see describe.
func decodePartition(p *eventview.Partition, replies []core.Result) error {
	var numbers [5]int64
	for j := range replies {
		msg, err := replies[j].Get()
		if err != nil {
			return err
		}
		if j != 3 {
			numbers[j], _ = msg.AsInt64()
		} else if token, err := msg.ToString(); err == nil {
			p.Owner, p.OwnerStarted = processOf(token)
		}
	}
	p.Events, p.Delayed, p.Groups = numbers[0], numbers[1], numbers[2]
	p.LeaseLeft = time.Duration(max(numbers[4], 0)) * time.Millisecond
	return nil
}

// processOf returns the process of a lease's token, and when it started. Tokens of a process begin
// with its member id, which begins with 48 bits of time.
func processOf(token string) (process string, started time.Time) {
	process, _, _ = strings.Cut(token, "-")
	if len(process) == 32 {
		if ms, err := strconv.ParseInt(process[:12], 16, 64); err == nil {
			started = time.UnixMilli(ms).UTC()
		}
	}
	return process, started
}

// lookAt is groupCall for a user who may only read.
func (v view) lookAt(p *partition, group string) core.Call {
	call := v.d.groupCall(p, group)
	call.Args = append(call.Args, "look")
	return call
}

func countsOf(c *groupCounts) eventview.Counts {
	return eventview.Counts{Unread: c.unread, Pending: c.pending, Parked: c.parked, Dead: c.dead}
}

// Groups returns the states of groups: the round trips of [Durable.Groups]. If some partitions
// can't be read, the groups have the counts of the others, and a problem.
func (v view) Groups(ctx context.Context, after string, limit int) ([]eventview.Group, error) {
	var names []string
	var failed error
	for _, p := range v.d.parts {
		var err error
		if names, err = v.d.addNames(ctx, p, names, after, limit); err != nil && failed == nil {
			failed = err
		}
	}
	if failed != nil && (len(names) == 0 || ctx.Err() != nil) {
		return nil, failed
	}

	states := v.d.describe(ctx, names, v.lookAt)
	groups := make([]eventview.Group, len(states))
	lost := 0 // groups of which no partition can be read
	for i := range states {
		states[i].fail(failed)
		groups[i] = v.groupView(&states[i])
		if states[i].failed == len(v.d.parts) {
			lost++
		}
	}
	if lost > 0 && lost == len(states) {
		return nil, states[0].err
	}
	return groups, nil
}

func (v view) Group(ctx context.Context, name string) (g eventview.Group, known bool, err error) {
	state := v.d.describe(ctx, []string{name}, v.lookAt)[0]
	if state.failed == len(v.d.parts) || state.err != nil && !state.known {
		return eventview.Group{}, false, state.err
	}
	return v.groupView(&state), state.known, nil
}

func (v view) groupView(g *groupState) eventview.Group {
	shown := eventview.Group{Name: g.Name, Processes: g.Consumers, Seen: g.Seen, PausedSince: g.PausedSince,
		Counts:  eventview.Counts{Unread: g.Lag - g.Waiting, Pending: g.Pending, Parked: g.Waiting, Dead: g.Dead},
		Delayed: g.Delayed, Oldest: g.Oldest}
	switch {
	case g.failed > 0:
		shown.Problem = fmt.Sprintf("%d of %d partitions can't be read, and the counts are of the others: %v",
			g.failed, len(v.d.parts), g.err)
	case g.err != nil:
		shown.Problem = fmt.Sprintf("the processes of the group or some groups are not known: %v", g.err)
	}
	return shown
}

// Blocked returns channels of a group with a parked list, by partition and then by the time of the
// next attempt: one round trip per 256 partitions.
func (v view) Blocked(ctx context.Context, group string, limit int) (all []eventview.Blocked, err error) {
	args := []string{strconv.Itoa(limit), strconv.Itoa(replyBytes)}
	for first := 0; first < len(v.d.parts) && len(all) < limit; first += maxPipeline {
		var calls []core.Call
		for _, p := range v.d.parts[first:min(first+maxPipeline, len(v.d.parts))] {
			k := v.d.groupKeys(p, group)
			calls = append(calls, core.Call{Keys: []string{k.retry, k.tries, k.parked}, Args: args})
		}
		for i, result := range v.d.core.EvalMulti(ctx, blockedScript, calls) {
			msg, err := result.Get()
			if err != nil {
				return nil, err
			}
			flat, err := msg.ToArray()
			if err != nil {
				return nil, unexpected("blocked channels", err)
			}
			for ; len(flat) >= blockedParts && len(all) < limit; flat = flat[blockedParts:] {
				b, err := decodeBlocked(flat[:blockedParts])
				if err != nil {
					return nil, err
				}
				b.Partition = first + i
				all = append(all, b)
			}
		}
	}
	return all, nil
}

const blockedParts = 5 // of each channel in the reply of blocked.lua

func decodeBlocked(parts []core.Reply) (b eventview.Blocked, err error) {
	d := decoder{parts: parts}
	b.Channel = d.text("a channel")
	due := d.score("a due time")
	b.Waiting = d.number("the events of a list")
	b.Head = d.text("the first event")
	b.Attempts = int(d.number("attempts"))
	if b.Held = due >= taken; !b.Held {
		b.Due = time.UnixMilli(int64(due)).UTC()
	}
	return b, d.err
}

// Waiting returns parked events of a channel: one round trip. It reads at most 1 MiB, or one event.
func (v view) Waiting(ctx context.Context, group, channel string, offset, limit int, data bool) (w eventview.Waiting, err error) {
	i := v.PartitionOf(channel)
	k := v.d.groupKeys(v.d.parts[i], group)
	whole := viewHeads
	if data {
		whole = viewData
	}
	msg, err := v.d.core.Eval(ctx, waitingScript, []string{k.parked + channel, k.tries}, []string{strconv.Itoa(offset),
		strconv.Itoa(limit), strconv.Itoa(replyBytes), strconv.Itoa(whole), strconv.Itoa(viewClip)})
	if err != nil {
		return w, err
	}
	parts, err := msg.ToArray()
	if err != nil || len(parts)%waitingParts != 1 {
		return w, unexpected("waiting events", err)
	}
	d := decoder{parts: parts}
	w.Total = d.number("the events of a list")
	for d.err == nil && d.next < len(parts) {
		e := eventview.Event{Partition: i, Position: d.text("an id")}
		field := d.text("a field")
		e.Size = int(d.number("a size"))
		decodeStored(&e, channel, field, d.text("a body"), e.Size, data)
		w.Attempts = append(w.Attempts, int(d.number("attempts")))
		w.Events = append(w.Events, e)
	}
	return w, d.err
}

const waitingParts = 5 // of each event in the reply of waiting.lua

func (v view) SetPaused(ctx context.Context, group string, on bool) (changed bool, err error) {
	if err := checkGroup(group); err != nil {
		return false, err
	}
	arg := "0"
	if on {
		arg = "1"
	}
	msg, err := v.d.core.Eval(ctx, pauseScript, []string{v.d.meta}, []string{group, arg})
	if err != nil {
		return false, err
	}
	n, err := msg.AsInt64()
	return n == 1, err
}

func (v view) DropGroup(ctx context.Context, group string) error { return v.d.DropGroup(ctx, group) }
