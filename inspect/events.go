package inspect

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	_ "github.com/redstart-go/redstart/events" // it registers its format
	"github.com/redstart-go/redstart/internal/eventview"
)

// Events shows and repairs durable buses. Use [Inspector.Events].
type Events struct{ in *Inspector }

// Events returns the durable buses of the namespace. A live bus stores nothing, so it has no state
// to show.
func (in *Inspector) Events() *Events { return &Events{in} }

// BusInfo is a durable bus.
type BusInfo struct {
	Name       string `json:"name"`
	Partitions int    `json:"partitions"`
	// Problem is the reason why the bus can't be read. Empty: there is no problem.
	Problem string `json:"problem,omitempty"`
}

// Backlog counts the events that wait for a group.
type Backlog struct {
	Unread  int64 `json:"unread"`
	Pending int64 `json:"pending"` // read and not acknowledged
	Parked  int64 `json:"parked"`  // behind a failed event, or in a long channel
	Dead    int64 `json:"dead"`    // dead letters
	// Oldest is the age of the oldest event that is unread, pending or parked.
	Oldest Duration `json:"oldest"`
}

// GroupInfo is a consumer group of a bus, whether or not a process runs it.
type GroupInfo struct {
	Name      string `json:"name"`
	Processes int    `json:"processes"`
	Backlog
	Lag         int64     `json:"lag"`     // unread and parked
	Delayed     int64     `json:"delayed"` // events of the bus that are not due
	Seen        time.Time `json:"seen,omitzero"`
	PausedSince time.Time `json:"paused_since,omitzero"` // zero: not paused
	// Problem says which part of the group could not be read, such as partitions of a node that
	// does not answer. The counts include the other partitions. Empty: there is no problem.
	Problem string `json:"problem,omitempty"`
}

// PartitionInfo is one partition of a bus.
type PartitionInfo struct {
	Partition int   `json:"partition"`
	Events    int64 `json:"events"` // stored, handled or not
	Delayed   int64 `json:"delayed"`
	Groups    int64 `json:"groups"`

	// The fields that follow concern one group. They are empty without a group.

	Owner        string    `json:"owner,omitempty"` // random id of the process that owns the partition
	OwnerStarted time.Time `json:"owner_started,omitzero"`
	LeaseLeft    Duration  `json:"lease_left"`
	Backlog

	// Problem is the reason why all other fields except Partition are empty: the partition can't be
	// read. Empty: there is no problem.
	Problem string `json:"problem,omitempty"`
}

// BlockedChannel is a channel of a group with parked events.
type BlockedChannel struct {
	Partition int    `json:"partition"`
	Channel   string `json:"channel"`
	Waiting   int64  `json:"waiting"` // parked events of the channel
	Held      bool   `json:"held"`    // the owner of the partition works on the channel now
	// Due is the time of the next attempt. It is zero if the channel is held.
	Due      time.Time `json:"due,omitzero"`
	Head     string    `json:"head,omitempty"` // position of the first parked event
	Attempts int       `json:"attempts"`       // of the first parked event
}

// Buses returns the durable buses. It scans the keys of the server, and takes one round trip more
// for each bus.
func (e *Events) Buses(ctx context.Context, p Page) (List[BusInfo], error) {
	list, err := names(ctx, e.in, "buses", "events", "*{"+eventview.BusTag+"}", p)
	if err != nil {
		return List[BusInfo]{Items: []BusInfo{}}, failure("list buses", "", err)
	}
	return mapList(list, func(name string) BusInfo {
		bus := BusInfo{Name: name}
		if b, err := eventview.Open(ctx, e.in.core, name); err != nil {
			bus.Problem = err.Error()
		} else {
			bus.Partitions = b.Partitions()
		}
		return bus
	}), nil
}

// Partitions returns the partitions of a bus, with their owners and backlogs of one group, or
// without if group is "". Two round trips per 256 partitions. A partition that can't be read has a
// Problem. Errors: ErrNotFound if the bus was never used; the class of the failure if no partition
// of the page can be read.
func (e *Events) Partitions(ctx context.Context, bus, group string, p Page) (List[PartitionInfo], error) {
	list := List[PartitionInfo]{Items: []PartitionInfo{}}
	limit, err := p.limit()
	var offset int
	if err == nil {
		offset, err = offsetOf(p.Cursor, "partitions")
	}
	var b eventview.Bus
	if err == nil {
		b, err = e.open(ctx, bus)
	}
	var parts []eventview.Partition
	if err == nil {
		parts, err = b.Describe(ctx, group, offset, limit)
	}
	if err != nil {
		return list, failure("list partitions of bus", quoted(bus), err)
	}

	for i := range parts {
		list.Items = append(list.Items, partitionInfo(&parts[i]))
	}
	list.Scanned = len(parts)
	if offset+limit < b.Partitions() {
		list.Next = cursorOf("partitions", strconv.Itoa(offset+limit))
	}
	list.Complete = p.Cursor == "" && list.Next == ""
	return list, nil
}

// maxScripts bounds the scripts of one page of groups: one for each group and partition.
const maxScripts = 4096

// Groups returns the groups of a bus by name. A page of a bus with many partitions has fewer groups
// than Page.Limit: one page runs at most 4,096 scripts, one for each group and partition. If some
// partitions can't be read, each group has a Problem. Errors: ErrNotFound if the bus was never
// used; the class of the failure if no partition can be read.
func (e *Events) Groups(ctx context.Context, bus string, p Page) (List[GroupInfo], error) {
	list := List[GroupInfo]{Items: []GroupInfo{}}
	limit, err := p.limit()
	var after string
	if err == nil {
		after, err = nameOf(p.Cursor, "groups")
	}
	var b eventview.Bus
	if err == nil {
		b, err = e.open(ctx, bus)
	}
	var groups []eventview.Group
	if err == nil {
		limit = min(limit, max(maxScripts/b.Partitions(), 1))
		groups, err = b.Groups(ctx, after, limit)
	}
	if err != nil {
		return list, failure("list groups of bus", quoted(bus), err)
	}

	for i := range groups {
		list.Items = append(list.Items, groupInfo(&groups[i]))
	}
	list.Scanned = len(groups)
	if len(groups) == limit {
		list.Next = cursorOf("groups", strconv.Quote(groups[limit-1].Name))
	}
	list.Complete = p.Cursor == "" && list.Next == ""
	return list, nil
}

// Group returns one group of a bus. Errors: ErrNotFound if the bus or the group is unknown.
func (e *Events) Group(ctx context.Context, bus, group string) (GroupInfo, error) {
	b, err := e.open(ctx, bus)
	var g eventview.Group
	known := false
	if err == nil {
		g, known, err = b.Group(ctx, group)
	}
	if err == nil && !known {
		err = ErrNotFound
	}
	if err != nil {
		return GroupInfo{}, failure("show group", quoted(group)+" of bus "+quoted(bus), err)
	}
	return groupInfo(&g), nil
}

// Blocked returns channels of a group with parked events, by partition and then by the time of the
// next attempt. It has no further pages: Complete reports whether the list has all of them.
func (e *Events) Blocked(ctx context.Context, bus, group string, p Page) (List[BlockedChannel], error) {
	list := List[BlockedChannel]{Items: []BlockedChannel{}}
	limit, err := p.limit()
	var b eventview.Bus
	if err == nil {
		b, err = e.open(ctx, bus)
	}
	var blocked []eventview.Blocked
	if err == nil {
		blocked, err = b.Blocked(ctx, group, limit)
	}
	if err != nil {
		return list, failure("list blocked channels of group", quoted(group)+" of bus "+quoted(bus), err)
	}
	for _, c := range blocked {
		list.Items = append(list.Items, BlockedChannel(c))
	}
	list.Scanned, list.Complete = len(blocked), len(blocked) < limit
	return list, nil
}

// WaitingEvent is a parked event of a group.
type WaitingEvent struct {
	Attempts int `json:"attempts"` // that have begun
	EventInfo
}

// Waiting returns the parked events of a channel, the first of its list first. The first event of a
// blocked channel is the one that fails. With data, it returns the data of events up to 64 KiB. It
// reads at most 1 MiB, or one event. An event that leaves the list between two pages moves the
// later ones. Two round trips. Errors: ErrNotFound if the bus was never used.
func (e *Events) Waiting(ctx context.Context, bus, group, channel string, data bool, p Page) (List[WaitingEvent], error) {
	list := List[WaitingEvent]{Items: []WaitingEvent{}}
	limit, err := p.limit()
	var offset int
	if err == nil {
		offset, err = offsetOf(p.Cursor, "waiting events")
	}
	var b eventview.Bus
	if err == nil {
		b, err = e.open(ctx, bus)
	}
	var w eventview.Waiting
	if err == nil {
		w, err = b.Waiting(ctx, group, channel, offset, limit, data)
	}
	if err != nil {
		return list, failure("list waiting events of channel", quoted(channel)+" of group "+quoted(group), err)
	}

	for i := range w.Events {
		list.Items = append(list.Items, WaitingEvent{w.Attempts[i], eventInfo(&w.Events[i])})
	}
	list.Scanned = len(w.Events)
	if next := offset + len(w.Events); len(w.Events) > 0 && int64(next) < w.Total {
		list.Next = cursorOf("waiting events", strconv.Itoa(next))
	}
	list.Complete = p.Cursor == "" && list.Next == ""
	return list, nil
}

// open returns the stored state of a bus.
func (e *Events) open(ctx context.Context, bus string) (eventview.Bus, error) {
	if bus == "" {
		return nil, errors.New("the name of the bus is empty: Buses lists the names")
	}
	b, err := eventview.Open(ctx, e.in.core, bus)
	if errors.Is(err, eventview.ErrNoBus) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return b, err
}

// nameOf returns the name in a cursor of a list that is read by name.
func nameOf(cursor, kind string) (string, error) {
	parts, err := partsOf(cursor, kind, 1)
	if err != nil || parts == nil {
		return "", err
	}
	name, err := strconv.Unquote(parts[0])
	if err != nil {
		return "", ErrBadCursor
	}
	return name, nil
}

func backlogOf(c *eventview.Counts, oldest time.Duration) Backlog {
	return Backlog{Unread: c.Unread, Pending: c.Pending, Parked: c.Parked, Dead: c.Dead, Oldest: Duration(oldest)}
}

func partitionInfo(p *eventview.Partition) PartitionInfo {
	return PartitionInfo{Partition: p.Index, Events: p.Events, Delayed: p.Delayed, Groups: p.Groups, Owner: truncated(p.Owner),
		OwnerStarted: p.OwnerStarted, LeaseLeft: Duration(p.LeaseLeft), Backlog: backlogOf(&p.Counts, p.Oldest),
		Problem: truncated(p.Problem)}
}

func groupInfo(g *eventview.Group) GroupInfo {
	return GroupInfo{Name: g.Name, Processes: g.Processes, Backlog: backlogOf(&g.Counts, g.Oldest),
		Lag: g.Counts.Unread + g.Counts.Parked, Delayed: g.Delayed, Seen: g.Seen, PausedSince: g.PausedSince,
		Problem: truncated(g.Problem)}
}
