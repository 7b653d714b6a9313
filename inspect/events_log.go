package inspect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/eventview"
)

// EventInfo is a stored event. Its strings may hold any bytes.
type EventInfo struct {
	Partition int    `json:"partition"`
	Position  string `json:"position"` // place in its partition
	Channel   string `json:"channel,omitempty"`
	Format    string `json:"format"` // "e1" is this release; "?" is another program
	Bytes     int    `json:"bytes"`  // stored

	// Problem is the reason why the fields that follow are empty: the envelope is of another
	// release or another program, is malformed, or is too large to be read whole. Empty: there is
	// no problem.
	Problem     string    `json:"problem,omitempty"`
	ID          string    `json:"id,omitempty"`
	Type        string    `json:"type,omitempty"`
	Source      string    `json:"source,omitempty"`
	Time        time.Time `json:"time,omitzero"` // by the clock of the producer
	TraceParent string    `json:"trace_parent,omitempty"`
	DataBytes   int       `json:"data_bytes,omitempty"`
	// Data is set only if it was requested and the event has at most 64 KiB.
	Data json.RawMessage `json:"data,omitempty"`
}

// PeekOptions select events. The zero value selects the newest events of all partitions, without
// their data.
type PeekOptions struct {
	Channel    string `json:"channel,omitempty"`    // only the events of this channel; default all
	Partitions []int  `json:"partitions,omitempty"` // only these partitions; default all
	Oldest     bool   `json:"oldest,omitempty"`     // oldest first
	Data       bool   `json:"data,omitempty"`       // return the data of events up to 64 KiB
}

// The budget of one Peek.
const (
	peekBytes   = 4 << 20 // stored bytes, shared by the partitions
	peekLeast   = 4 << 10 // stored bytes of a partition
	peekEntries = 4096    // entries that are examined for one channel
)

// Peek returns stored events in the order of their positions. It reads without a group, so it
// changes nothing. One round trip per node, and more for the events of one channel. It reads at
// most 4 MiB, or one event of each partition. With a channel, a page may be empty and have a Next.
// A partition that can't be read is one of the Problems of the list. Errors: ErrNotFound if the bus
// was never used; the class of the failure if no partition can be read.
func (e *Events) Peek(ctx context.Context, bus string, o PeekOptions, p Page) (List[EventInfo], error) {
	list, err := e.peek(ctx, bus, o, p)
	if err != nil {
		return list, failure("peek into bus", quoted(bus), err)
	}
	return list, nil
}

func (e *Events) peek(ctx context.Context, bus string, o PeekOptions, p Page) (List[EventInfo], error) {
	list := List[EventInfo]{Items: []EventInfo{}}
	limit, err := p.limit()
	if err != nil {
		return list, err
	}
	at, err := placeOf(p.Cursor)
	if err != nil {
		return list, err
	}
	b, err := e.open(ctx, bus)
	if err != nil {
		return list, err
	}
	parts, err := o.partitions(b)
	if err != nil {
		return list, err
	}

	end := e.in.core.Clock().Exact() + scanTime
	for {
		merged, next, more, failed := step(ctx, b, o, parts, at, limit)
		if len(failed) > 0 && (len(failed) == len(parts) || ctx.Err() != nil) {
			return list, failed[0].err
		}
		list.Problems = problemsOf(failed)
		for i := range merged {
			if o.Channel == "" || merged[i].Channel == o.Channel {
				list.Items = append(list.Items, eventInfo(&merged[i]))
			}
		}
		list.Scanned += len(merged)
		if !more {
			list.Complete = p.Cursor == "" && len(failed) == 0
			return list, nil
		}
		at = next
		if len(list.Items) >= limit || o.Channel == "" || list.Scanned >= peekEntries || e.in.core.Clock().Exact() >= end {
			list.Next = at.cursor()
			return list, nil
		}
	}
}

// partitions returns the partitions to read.
func (o *PeekOptions) partitions(b eventview.Bus) ([]int, error) {
	if o.Channel != "" {
		return []int{b.PartitionOf(o.Channel)}, nil
	}
	if len(o.Partitions) == 0 {
		all := make([]int, b.Partitions())
		for i := range all {
			all[i] = i
		}
		return all, nil
	}
	for _, i := range o.Partitions {
		if i < 0 || i >= b.Partitions() {
			return nil, fmt.Errorf("PeekOptions.Partitions has %d: the bus has the partitions 0 to %d", i, b.Partitions()-1)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(o.Partitions))), nil
}

// place is where a page of events continues: behind this event.
type place struct {
	position  string // "" for the begin
	partition int
}

func (at place) cursor() string {
	return cursorOf("events", at.position, strconv.Itoa(at.partition))
}

func placeOf(cursor string) (place, error) {
	parts, err := partsOf(cursor, "events", 2)
	if err != nil || parts == nil {
		return place{}, err
	}
	partition, err := strconv.Atoi(parts[1])
	if err != nil || !isPosition(parts[0]) {
		return place{}, ErrBadCursor
	}
	return place{parts[0], partition}, nil
}

// partitionFailure is a partition that could not be read.
type partitionFailure struct {
	partition int
	err       error
}

// problemsOf returns the failures as problems of a list.
func problemsOf(failed []partitionFailure) (problems []string) {
	for _, f := range failed[:min(len(failed), maxProblems)] {
		problems = append(problems, truncated(fmt.Sprintf("partition %d: %v", f.partition, f.err)))
	}
	return problems
}

// step reads one part of each partition and merges them. Events are sorted by position and then by
// partition. more reports that there are events behind next. Events of a partition that failed are
// missing.
//
// A partition whose budget ended has unread events behind its last one. So the merge ends there: a
// later event of another partition would be out of order, and the next page would skip the unread
// ones.
func step(ctx context.Context, b eventview.Bus, o PeekOptions, parts []int, at place, limit int) (
	merged []eventview.Event, next place, more bool, failed []partitionFailure) {
	reads := make([]eventview.Read, len(parts))
	for i, partition := range parts {
		reads[i] = eventview.Read{Partition: partition, Newest: !o.Oldest, After: at.position, Limit: limit,
			Bytes: max(peekBytes/len(parts), peekLeast), Data: o.Data}
		// The events with the position of the place follow it, or precede it, by partition.
		reads[i].Inclusive = o.Oldest && partition > at.partition || !o.Oldest && partition < at.partition
	}
	order := func(a, b *eventview.Event) int {
		c := cmp.Or(comparePositions(a.Position, b.Position), cmp.Compare(a.Partition, b.Partition))
		if !o.Oldest {
			return -c
		}
		return c
	}

	var floor *eventview.Event // the first of the last events of partitions with unread events
	for i, page := range b.Read(ctx, reads) {
		if page.Err != nil {
			failed = append(failed, partitionFailure{parts[i], page.Err})
			continue
		}
		merged = append(merged, page.Events...)
		if n := len(page.Events); !page.End && n > 0 {
			if last := &page.Events[n-1]; floor == nil || order(last, floor) < 0 {
				floor = last
			}
		}
	}
	slices.SortFunc(merged, func(a, b eventview.Event) int { return order(&a, &b) })
	n := len(merged)
	if floor != nil {
		n, _ = slices.BinarySearchFunc(merged, floor, func(e eventview.Event, f *eventview.Event) int { return order(&e, f) })
		n++
	}
	if n = min(n, limit); n > 0 {
		next = place{merged[n-1].Position, merged[n-1].Partition}
	}
	return merged[:n], next, floor != nil || n < len(merged), failed
}

// isPosition reports whether s is the position of an event.
func isPosition(s string) bool {
	ms, seq, ok := strings.Cut(s, "-")
	_, err1 := strconv.ParseUint(ms, 10, 64)
	_, err2 := strconv.ParseUint(seq, 10, 64)
	return ok && err1 == nil && err2 == nil
}

// comparePositions compares two positions: milliseconds, then a sequence number.
func comparePositions(a, b string) int {
	numbers := func(s string) (ms, seq uint64) {
		first, second, _ := strings.Cut(s, "-")
		ms, _ = strconv.ParseUint(first, 10, 64)
		seq, _ = strconv.ParseUint(second, 10, 64)
		return ms, seq
	}
	ams, aseq := numbers(a)
	bms, bseq := numbers(b)
	return cmp.Or(cmp.Compare(ams, bms), cmp.Compare(aseq, bseq))
}

func eventInfo(e *eventview.Event) EventInfo {
	return EventInfo{Partition: e.Partition, Position: e.Position, Channel: e.Channel, Format: e.Format, Bytes: e.Size,
		Problem: e.Problem, ID: e.ID, Type: e.Type, Source: e.Source, Time: e.Time, TraceParent: e.TraceParent,
		DataBytes: e.DataBytes, Data: e.Data}
}

var errBadPosition = errors.New("it is not a position: Peek returns the positions of events")
