package inspect

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/eventview"
)

// DeadInfo is a dead letter: an event that a group has given up.
type DeadInfo struct {
	ID       string    `json:"id"` // for Redrive and Drop
	Attempts int       `json:"attempts"`
	Cause    string    `json:"cause"`         // text of the last error; of a large letter, its first 1 KiB
	Died     time.Time `json:"died,omitzero"` // by the clock of the process that gave the event up
	Event    EventInfo `json:"event"`         // its ID is the id of the event
}

// Dead returns the dead letters of a group, by partition and then oldest first, without their data.
// Two round trips for one page: one reads the number of dead letters of each partition. It reads at
// most 1 MiB, or one event. Errors: ErrNotFound if the bus was never used.
func (e *Events) Dead(ctx context.Context, bus, group string, p Page) (List[DeadInfo], error) {
	list := List[DeadInfo]{Items: []DeadInfo{}}
	limit, err := p.limit()
	var parts []string
	if err == nil {
		parts, err = partsOf(p.Cursor, "dead letters", 1)
	}
	after := ""
	if parts != nil {
		after = parts[0]
	}
	var b eventview.Bus
	if err == nil {
		b, err = e.open(ctx, bus)
	}
	var letters eventview.Letters
	if err == nil {
		letters, err = b.Dead(ctx, group, after, limit, false)
	}
	if err != nil {
		return list, failure("list dead letters of group", quoted(group)+" of bus "+quoted(bus), err)
	}

	for i := range letters.Items {
		list.Items = append(list.Items, deadInfo(&letters.Items[i]))
	}
	list.Scanned = letters.Scanned
	if letters.Next != "" {
		list.Next = cursorOf("dead letters", letters.Next)
	}
	list.Complete = p.Cursor == "" && list.Next == ""
	return list, nil
}

// DeadLetter returns one dead letter with its data, if the event has at most 64 KiB. Two round
// trips. Errors: ErrNotFound.
func (e *Events) DeadLetter(ctx context.Context, bus, group, id string) (DeadInfo, error) {
	b, err := e.open(ctx, bus)
	var letter eventview.DeadLetter
	found := false
	if err == nil {
		letter, found, err = b.Letter(ctx, group, id)
	}
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return DeadInfo{}, failure("read dead letter", quoted(id)+" of group "+quoted(group), err)
	}
	return deadInfo(&letter), nil
}

func deadInfo(l *eventview.DeadLetter) DeadInfo {
	return DeadInfo{ID: l.Letter, Attempts: l.Attempts, Cause: l.Cause, Died: l.Died, Event: eventInfo(&l.Event)}
}

// Redrive gives dead letters to their group again, with all attempts, and returns how many were
// found. Other groups do not get them. At most 500 ids. Errors: ErrReadOnly.
func (e *Events) Redrive(ctx context.Context, bus, group string, ids ...string) (int, error) {
	return e.letters(ctx, "redrive", bus, group, ids, eventview.Bus.Redrive)
}

// RedriveAll redrives the dead letters that are there when it begins, in the order in which they
// died within a partition. It returns their number, also with an error: then the others are still
// dead letters. Two round trips per 256 dead letters or 1 MiB. Errors: ErrReadOnly.
func (e *Events) RedriveAll(ctx context.Context, bus, group string) (int, error) {
	return e.change(ctx, repair{"events", "redrive all", bus, group}, func(ctx context.Context, b eventview.Bus) (int, error) {
		return b.RedriveAll(ctx, group)
	})
}

// Drop deletes dead letters and returns how many were found. At most 500 ids. Errors: ErrReadOnly.
func (e *Events) Drop(ctx context.Context, bus, group string, ids ...string) (int, error) {
	return e.letters(ctx, "drop", bus, group, ids, eventview.Bus.Drop)
}

// DropAll deletes the dead letters that are there when it begins, and returns their number. Two
// round trips per 1,000 dead letters or 1 MiB. Errors: ErrReadOnly.
func (e *Events) DropAll(ctx context.Context, bus, group string) (int, error) {
	return e.change(ctx, repair{"events", "drop all", bus, group}, func(ctx context.Context, b eventview.Bus) (int, error) {
		return b.DropAll(ctx, group)
	})
}

// Pause pauses a group in all its processes, as events.Durable.Pause does. It reports whether the
// group was not paused before. A group may be paused before it exists. Errors: ErrReadOnly.
func (e *Events) Pause(ctx context.Context, bus, group string) (changed bool, err error) {
	return e.setPaused(ctx, "pause", bus, group, true)
}

// Resume ends a pause. It reports whether the group was paused. Errors: ErrReadOnly.
func (e *Events) Resume(ctx context.Context, bus, group string) (changed bool, err error) {
	return e.setPaused(ctx, "resume", bus, group, false)
}

// DropGroup deletes a group with its unhandled events and dead letters, as events.Durable.DropGroup
// does. Errors: ErrReadOnly; events.ErrRunning while a process runs the group; ErrNotFound.
func (e *Events) DropGroup(ctx context.Context, bus, group string) error {
	_, err := e.change(ctx, repair{"events", "drop group", bus, group}, func(ctx context.Context, b eventview.Bus) (int, error) {
		_, known, err := b.Group(ctx, group)
		if err == nil && !known {
			err = ErrNotFound
		}
		if err != nil {
			return 0, err
		}
		return 1, b.DropGroup(ctx, group)
	})
	return err
}

// maxLetters bounds the ids of one call.
const maxLetters = 500

var (
	errNoLetters  = errors.New("there are no ids: Dead lists them")
	errAllLetters = errors.New("there are more than 500 ids: split the call")
)

func (e *Events) letters(ctx context.Context, verb, bus, group string, ids []string,
	do func(b eventview.Bus, ctx context.Context, group string, letters []string) (int, error)) (int, error) {
	r := repair{"events", verb, bus, group}
	switch {
	case len(ids) == 0:
		return 0, failure(r.String(), "", errNoLetters)
	case len(ids) > maxLetters:
		return 0, failure(r.String(), "", errAllLetters)
	case len(ids) == 1:
		r.part += " " + ids[0]
	}
	return e.change(ctx, r, func(ctx context.Context, b eventview.Bus) (int, error) { return do(b, ctx, group, ids) })
}

func (e *Events) setPaused(ctx context.Context, verb, bus, group string, on bool) (changed bool, err error) {
	n, err := e.change(ctx, repair{"events", verb, bus, group}, func(ctx context.Context, b eventview.Bus) (int, error) {
		changed, err := b.SetPaused(ctx, group, on)
		if changed {
			return 1, err
		}
		return 0, err
	})
	return n == 1, err
}

// change runs a repair of a bus.
func (e *Events) change(ctx context.Context, r repair, do func(context.Context, eventview.Bus) (int, error)) (int, error) {
	n, err := e.in.repair(ctx, r, func(ctx context.Context) (int64, error) {
		b, err := e.open(ctx, r.object)
		if err != nil {
			return 0, err
		}
		n, err := do(ctx, b)
		return int64(n), err
	})
	return int(n), err
}
