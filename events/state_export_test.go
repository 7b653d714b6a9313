package events

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/script"
)

// states has the transitions of design note 0030, as "stage idle queued", and those that were seen.
type states struct {
	mu   sync.Mutex
	seen map[string]bool
}

var transitions = sync.OnceValue(func() map[string]bool {
	text, err := os.ReadFile("../docs/design/0030-turns-within-budgets.md")
	if err != nil {
		panic(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		kind := strings.TrimSpace(cells[1])
		for from := range strings.SplitSeq(cells[2], ",") {
			for to := range strings.SplitSeq(cells[3], ",") {
				rows[kind+" "+strings.TrimSpace(from)+" "+strings.TrimSpace(to)] = true
			}
		}
	}
	return rows
})

// CheckStates compares every change of a state with the note, and checks the invariants after each
// step. seen returns the transitions that were seen.
func (d *Durable) CheckStates(report func(format string, args ...any)) (seen func() []string) {
	s := &states{seen: map[string]bool{}}
	d.points.ArmLook("change", func(objects ...any) {
		c, from, to := objects[0].(*partitionConsumer), objects[1], objects[2]
		row := strings.TrimPrefix(fmt.Sprintf("%T %v %v", from, from, to), "events.")
		s.mu.Lock()
		s.seen[row] = true
		s.mu.Unlock()
		if !transitions()[row] {
			report("partition %d: %s is not in the note", c.index, row)
		}
	})
	d.points.ArmLook("step", func(objects ...any) {
		c := objects[0].(*partitionConsumer)
		if fault := c.inconsistent(); fault != "" {
			report("partition %d, phase %v: %s", c.index, c.phase, fault)
		}
	})
	return func() (all []string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for row := range s.seen {
			all = append(all, row)
		}
		return all
	}
}

// ExpireAsPollsReturn ends the leases of a bus' subscribers on the clock of their process while a
// reply that renews them arrives.
func (d *Durable) ExpireAsPollsReturn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.runs {
		r.mu.Lock()
		all := slices.Collect(maps.Values(r.consumers))
		r.mu.Unlock()
		for _, c := range all {
			r.mu.Lock()
			until := c.until
			c.until = deadline{time.Now().Add(-time.Millisecond)}
			r.mu.Unlock()
			c.expire()
			r.mu.Lock()
			c.until = until
			r.mu.Unlock()
		}
	}
}

// CountSteps counts the steps of the bus' consumers. It replaces CheckStates.
func (d *Durable) CountSteps() *atomic.Int64 {
	n := new(atomic.Int64)
	d.points.ArmLook("step", func(...any) { n.Add(1) })
	return n
}

// Polls returns how many polls the owner of a channel's partition has made, and whether an event of
// a group is due there.
func (d *Durable) Polls(ctx context.Context, group, channel string) (polls int64, due bool, err error) {
	keys := d.groupKeys(d.partition(channel), group)
	msg, err := d.core.Eval(ctx, script.New(`local t = redis.call('TIME')
		return { redis.call('HGET', KEYS[1], 'turn'), redis.call('ZCOUNT', KEYS[2], '-inf', t[1] * 1000 + t[2] / 1000) }`), []string{keys.group, keys.retry}, nil)
	if err != nil {
		return 0, false, err
	}
	all, err := msg.AsIntSlice()
	if err != nil || len(all) != 2 {
		return 0, false, unexpected("polls", err)
	}
	return all[0], all[1] > 0, nil
}

// inconsistent describes a violated invariant of a partition's consumer and its subscriber, or
// returns "".
func (c *partitionConsumer) inconsistent() string {
	r, slots := c.run, c.run.free
	for _, s := range r.consumers {
		for _, q := range s.queues {
			if q.stage.holdsSlot() {
				slots++
			}
		}
	}
	if r.consumers[c.index] == c && slots != slotsPerWorker*r.sub.opt.Concurrency {
		return fmt.Sprintf("%d slots are accounted for, %d of them free; there are %d", slots, r.free, slotsPerWorker*r.sub.opt.Concurrency)
	}
	begins, parks := map[*channelQueue]bool{}, map[*channelQueue]bool{}
	for _, q := range c.toStart {
		begins[q] = true
	}
	for _, q := range c.toPark {
		parks[q] = true
	}
	if len(begins) < len(c.toStart) || len(parks) < len(c.toPark) {
		return fmt.Sprintf("%d of %d queues that begin are different ones, %d of %d that are parked", len(begins),
			len(c.toStart), len(parks), len(c.toPark))
	}
	held, bytes, weight := 0, 0, 0
	for channel, q := range c.queues {
		n := q.events.len()
		held += n
		for i := range n {
			bytes += len(q.events.at(i).body)
			weight += q.events.at(i).size
		}
		switch {
		case q.stage == removed || q.channel != channel:
			return fmt.Sprintf("the queue of %q is %v", channel, q.stage)
		case q.started+q.counting > n:
			return fmt.Sprintf("%q: %d counted and %d being counted of %d events", channel, q.started, q.counting, n)
		case (q.counting > 0) != (q.request == counting):
			return fmt.Sprintf("%q: %d events being counted, the request is %v", channel, q.counting, q.request)
		case q.stage == idle && q.started > 0 && c.phase.serves() && !c.stalled && !c.expired && !c.until.passed(c.d.core.Time().Now()):
			return fmt.Sprintf("%q is idle with %d counted events", channel, q.started)
		case q.stage == runnable && q.started == 0:
			return fmt.Sprintf("%q is runnable without counted events", channel)
		case q.request == fetching && (n == 0 || !q.events.at(0).stub):
			return fmt.Sprintf("%q fetches a body that is here", channel)
		case (q.request == wanted) != begins[q]:
			return fmt.Sprintf("%q: request %v, in the list of those that begin: %v", channel, q.request, q.request != wanted)
		case (q.stage == stopped) != parks[q]:
			return fmt.Sprintf("%q: %v, in the list of those that are parked: %v", channel, q.stage, q.stage != stopped)
		}
	}
	if held != c.held || bytes != c.bytes || weight != c.weight {
		return fmt.Sprintf("%d events with %d bytes of %d are held, counted are %d, %d and %d", held, bytes, weight,
			c.held, c.bytes, c.weight)
	}
	return ""
}

// Armed returns a channel that receives when a consumer of the bus has armed the server. It
// replaces CheckStates.
func (d *Durable) Armed() <-chan struct{} {
	all := make(chan struct{}, 1)
	d.points.ArmLook("change", func(objects ...any) {
		if to, ok := objects[2].(phase); ok && to == armed && objects[1] != checking {
			select {
			case all <- struct{}{}:
			default:
			}
		}
	})
	return all
}
