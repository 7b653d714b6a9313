package inspect

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/redstart-go/redstart/internal/eventview"
)

// TailOptions select the events of [Events.Tail]. The zero value selects all events that are
// published from now on, without their data.
type TailOptions struct {
	Channel    string // only the events of this channel; default all
	Partitions []int  // only these partitions; default all
	// From is a position. Tail begins with the events behind it. Default: now.
	From string
	// Limit ends Tail after this many events. Default 0: no limit.
	Limit int
	// Every is the time between two reads that found nothing. Default 250 ms, at least 10 ms.
	Every time.Duration
	Data  bool // return the data of events up to 64 KiB
}

const (
	tailEvery = 250 * time.Millisecond
	tailLeast = 10 * time.Millisecond
	tailFails = time.Second // time between two reads after a failure
	tailPart  = 100         // events of a partition in one read
)

// Tail yields events as they are stored. It reads without a group, so it changes nothing. The order
// holds within a channel; events of several partitions are sorted by position within one read. It
// keeps one read in memory: at most 100 events of each partition, and 4 MiB of stored bytes or one
// event of each partition.
//
// After a failure, Tail yields the error with the zero EventInfo. If the loop continues, Tail
// continues behind the last event, after a second. It ends without an error when ctx ends. It does
// not report events that are cut from the stream before it reads them.
func (e *Events) Tail(ctx context.Context, bus string, o TailOptions) iter.Seq2[EventInfo, error] {
	return func(yield func(EventInfo, error) bool) {
		t := tail{events: e, bus: bus, o: o, left: o.Limit}
		for ctx.Err() == nil {
			found, more, err := t.read(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !yield(EventInfo{}, failure("tail bus", quoted(bus), err)) {
				return
			}
			for i := range found {
				if !yield(eventInfo(&found[i]), nil) {
					return
				}
				if t.left--; t.left == 0 {
					return
				}
			}
			if !more && !t.wait(ctx, err) {
				return
			}
		}
	}
}

// tail is the state of one Tail.
type tail struct {
	events *Events
	bus    string
	o      TailOptions
	left   int // events to yield; negative or 0 at the begin: no limit

	stored eventview.Bus
	parts  []int
	after  []string // by index of parts
}

// read returns the events of one read. more reports that the next read has events.
func (t *tail) read(ctx context.Context) (found []eventview.Event, more bool, err error) {
	if t.stored == nil {
		if err := t.begin(ctx); err != nil {
			return nil, false, err
		}
	}
	reads := make([]eventview.Read, len(t.parts))
	for i, partition := range t.parts {
		reads[i] = eventview.Read{Partition: partition, After: t.after[i], Limit: tailPart,
			Bytes: max(peekBytes/len(t.parts), peekLeast), Data: t.o.Data}
	}
	for i, page := range t.stored.Read(ctx, reads) {
		if page.Err != nil {
			err = page.Err // the other partitions go on
			continue
		}
		if page.Last != "" {
			t.after[i] = page.Last
		}
		more = more || !page.End
		found = append(found, page.Events...)
	}
	if t.o.Channel != "" {
		found = slices.DeleteFunc(found, func(e eventview.Event) bool { return e.Channel != t.o.Channel })
	}
	slices.SortStableFunc(found, func(a, b eventview.Event) int { return comparePositions(a.Position, b.Position) })
	return found, more && err == nil, err
}

// begin finds the partitions, and where to begin in each of them.
func (t *tail) begin(ctx context.Context) error {
	if t.o.From != "" && !isPosition(t.o.From) {
		return errBadPosition
	}
	b, err := t.events.open(ctx, t.bus)
	if err != nil {
		return err
	}
	o := PeekOptions{Channel: t.o.Channel, Partitions: t.o.Partitions}
	if t.parts, err = o.partitions(b); err != nil {
		return err
	}

	t.after = make([]string, len(t.parts))
	if t.o.From != "" {
		for i := range t.after {
			t.after[i] = t.o.From
		}
		t.stored = b
		return nil
	}
	reads := make([]eventview.Read, len(t.parts))
	for i, partition := range t.parts {
		reads[i] = eventview.Read{Partition: partition, Newest: true, Limit: 1, Bytes: 1}
	}
	for i, page := range b.Read(ctx, reads) {
		if page.Err != nil {
			return page.Err
		}
		t.after[i] = page.Last
	}
	t.stored = b
	return nil
}

// wait waits until the next read. It returns false when ctx ends.
func (t *tail) wait(ctx context.Context, failed error) bool {
	every := t.o.Every
	if every == 0 {
		every = tailEvery
	}
	every = max(every, tailLeast)
	if failed != nil {
		every = tailFails
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
