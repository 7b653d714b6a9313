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

// states are the transitions of design note 0030, as "stage idle queued", and those that were seen.
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

// CheckStates has every change of a state compared with the note, and what must hold after each step. It returns what lists the
// transitions that were seen.
func (d *Durable) CheckStates(report func(format string, args ...any)) (seen func() []string) {
	s := &states{seen: map[string]bool{}}
	d.points.ArmLook("change", func(objects ...any) {
		x, from, to := objects[0].(*session), objects[1], objects[2]
		row := strings.TrimPrefix(fmt.Sprintf("%T %v %v", from, from, to), "events.")
		s.mu.Lock()
		s.seen[row] = true
		s.mu.Unlock()
		if !transitions()[row] {
			report("partition %d: %s is not in the note", x.index, row)
		}
	})
	d.points.ArmLook("step", func(objects ...any) {
		x := objects[0].(*session)
		if fault := x.inconsistent(); fault != "" {
			report("partition %d, phase %v: %s", x.index, x.phase, fault)
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

// ExpireAsTurnsReturn has the leases of a bus' subscribers end on the clock of their process while an answer that renews them arrives.
func (d *Durable) ExpireAsTurnsReturn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.runs {
		r.mu.Lock()
		all := slices.Collect(maps.Values(r.sessions))
		r.mu.Unlock()
		for _, x := range all {
			r.mu.Lock()
			until := x.until
			x.until = deadline{time.Now().Add(-time.Millisecond)}
			r.mu.Unlock()
			x.expire()
			r.mu.Lock()
			x.until = until
			r.mu.Unlock()
		}
	}
}

// CountSteps counts how often a loop of the bus plans, in place of CheckStates.
func (d *Durable) CountSteps() *atomic.Int64 {
	n := new(atomic.Int64)
	d.points.ArmLook("step", func(...any) { n.Add(1) })
	return n
}

// Turns is how many turns the owner of a channel's partition has made, and whether something of a group is due there.
func (d *Durable) Turns(ctx context.Context, group, channel string) (turns int64, due bool, err error) {
	keys := d.groupKeys(d.partition(channel), group)
	msg, err := d.core.Eval(ctx, script.New(`local t = redis.call('TIME')
		return { redis.call('HGET', KEYS[1], 'turn'), redis.call('ZCOUNT', KEYS[2], '-inf', t[1] * 1000 + t[2] / 1000) }`), []string{keys.group, keys.retry}, nil)
	if err != nil {
		return 0, false, err
	}
	all, err := msg.AsIntSlice()
	if err != nil || len(all) != 2 {
		return 0, false, unexpected("turns", err)
	}
	return all[0], all[1] > 0, nil
}

// inconsistent says what does not hold in a partition's consumer and its subscriber, or "".
func (x *session) inconsistent() string {
	r, slots := x.run, x.run.free
	for _, s := range r.sessions {
		for _, l := range s.lanes {
			if l.stage.holdsSlot() {
				slots++
			}
		}
	}
	if r.sessions[x.index] == x && slots != ahead*r.sub.opt.Concurrency {
		return fmt.Sprintf("%d slots are accounted for, %d of them free; there are %d", slots, r.free, ahead*r.sub.opt.Concurrency)
	}
	begins, parks := map[*lane]bool{}, map[*lane]bool{}
	for _, l := range x.toBegin {
		begins[l] = true
	}
	for _, l := range x.toPark {
		parks[l] = true
	}
	if len(begins) < len(x.toBegin) || len(parks) < len(x.toPark) {
		return fmt.Sprintf("%d of %d queues that begin are different ones, %d of %d that are parked", len(begins), len(x.toBegin), len(parks), len(x.toPark))
	}
	held, bytes, weight := 0, 0, 0
	for channel, l := range x.lanes {
		n := l.queue.len()
		held += n
		for i := range n {
			bytes += len(l.queue.at(i).body)
			weight += l.queue.at(i).size
		}
		switch {
		case l.stage == removed || l.channel != channel:
			return fmt.Sprintf("the queue of %q is %v", channel, l.stage)
		case l.begun+l.asked > n:
			return fmt.Sprintf("%q: %d counted and %d being counted of %d events", channel, l.begun, l.asked, n)
		case (l.asked > 0) != (l.asks == counting):
			return fmt.Sprintf("%q: %d events being counted, the request is %v", channel, l.asked, l.asks)
		case l.stage == idle && l.begun > 0 && x.phase.serves() && !x.stalled && !x.expired && !x.until.passed(time.Now()):
			return fmt.Sprintf("%q is idle with %d counted events", channel, l.begun)
		case l.stage == runnable && l.begun == 0:
			return fmt.Sprintf("%q is runnable without counted events", channel)
		case l.asks == fetching && (n == 0 || !l.queue.at(0).stub):
			return fmt.Sprintf("%q fetches a body that is here", channel)
		case (l.asks == wanted) != begins[l]:
			return fmt.Sprintf("%q: request %v, in the list of those that begin: %v", channel, l.asks, l.asks != wanted)
		case (l.stage == stopped) != parks[l]:
			return fmt.Sprintf("%q: %v, in the list of those that are parked: %v", channel, l.stage, l.stage != stopped)
		}
	}
	if held != x.held || bytes != x.bytes || weight != x.weight {
		return fmt.Sprintf("%d events with %d bytes of %d are held, counted are %d, %d and %d", held, bytes, weight, x.held, x.bytes, x.weight)
	}
	return ""
}
