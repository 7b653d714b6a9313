package console

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// groupView is one group of a bus, with its blocked channels and dead letters.
type groupView struct {
	Asked   bool
	Name    name
	Shown   section[groupRow]
	Blocked section[[]blockedRow]
	Dead    section[deadList]
	Letter  section[deadRow]
	Data    bool // the reader may see the data of a dead letter
	Pager   pager
	Close   string // URL of the page without the letter
}

type blockedRow struct {
	Channel   name
	Partition int
	Waiting   int64
	Attempts  int
	Due       time.Time
	Held      bool
}

type deadList struct {
	Rows []deadRow
	More more
}

// deadRow is a dead letter.
type deadRow struct {
	ID       name
	Attempts int
	Cause    string
	Died     time.Time
	Event    eventRow
}

func (c *Console) groupView(ctx context.Context, req request, bus, group string) groupView {
	events := c.inspector.Events()
	v := groupView{Asked: true, Name: nameOf(group), Data: c.opt.Mask == MaskNone && req.role >= Operator}
	v.Shown = load(ctx, &c.kept, "group "+bus+" "+group, func(ctx context.Context) (groupRow, error) {
		g, err := events.Group(ctx, bus, group)
		if err != nil {
			return groupRow{}, err
		}
		return c.groupRow(time.Now(), bus, &g), nil
	})
	v.Blocked = load(ctx, &c.kept, "blocked "+bus+" "+group, func(ctx context.Context) ([]blockedRow, error) {
		list, err := events.Blocked(ctx, bus, group, inspect.Page{Limit: 20})
		rows := make([]blockedRow, 0, len(list.Items))
		for _, b := range list.Items {
			rows = append(rows, blockedRow{nameOf(b.Channel), b.Partition, b.Waiting, b.Attempts, b.Due, b.Held})
		}
		return rows, err
	})

	cursor := req.arg("dead")
	v.Dead = load(ctx, &c.kept, "dead "+bus+" "+group+" "+cursor, func(ctx context.Context) (deadList, error) {
		list, err := events.Dead(ctx, bus, group, inspect.Page{Cursor: cursor})
		rows := deadList{More: moreOf(list.Next, list.Scanned, list.Complete)}
		for i := range list.Items {
			rows.Rows = append(rows.Rows, deadRowOf(&list.Items[i]))
		}
		return rows, err
	})
	v.Pager = c.pagerOf("/events", "dead", req, v.Dead.Value.More)
	if letter := req.arg("letter"); letter != "" && v.Data {
		v.Letter = load(ctx, &kept{}, "", func(ctx context.Context) (deadRow, error) {
			d, err := events.DeadLetter(ctx, bus, group, letter)
			if errors.Is(err, inspect.ErrNotFound) {
				return deadRow{}, errors.New("this dead letter is gone: it was redriven or dropped")
			}
			return deadRowOf(&d), err
		})
		v.Close = c.without("/events", req, "letter")
	}
	return v
}

func deadRowOf(d *inspect.DeadInfo) deadRow {
	return deadRow{nameOf(d.ID), d.Attempts, printable(d.Cause, 300), d.Died, eventRowOf(&d.Event)}
}

// letters runs a repair of the selected dead letters.
func letters(do func(e *inspect.Events, ctx context.Context, bus, group string, ids ...string) (int, error)) func(
	context.Context, *inspect.Inspector, form) (int64, error) {
	return func(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
		bus, group, err := f.group()
		if err != nil {
			return 0, err
		}
		ids := f.values["id"]
		if len(ids) == 0 {
			return 0, errors.New("no dead letter is selected: select some in the table")
		}
		n, err := do(in.Events(), ctx, bus, group, ids...)
		return int64(n), err
	}
}

// allLetters runs a repair of all dead letters of a group.
func allLetters(do func(e *inspect.Events, ctx context.Context, bus, group string) (int, error)) func(
	context.Context, *inspect.Inspector, form) (int64, error) {
	return func(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
		bus, group, err := f.group()
		if err != nil {
			return 0, err
		}
		n, err := do(in.Events(), ctx, bus, group)
		return int64(n), err
	}
}

// oneGroup runs a repair that reports whether it changed a group.
func oneGroup(do func(e *inspect.Events, ctx context.Context, bus, group string) (bool, error)) func(
	context.Context, *inspect.Inspector, form) (int64, error) {
	return allLetters(func(e *inspect.Events, ctx context.Context, bus, group string) (int, error) {
		changed, err := do(e, ctx, bus, group)
		if changed && err == nil {
			return 1, nil
		}
		return 0, err
	})
}

func dropGroup(e *inspect.Events, ctx context.Context, bus, group string) (bool, error) {
	err := e.DropGroup(ctx, bus, group)
	return err == nil, err
}

// group returns the bus and the group of a form.
func (f form) group() (bus, group string, err error) {
	err = f.names(map[string]*string{"bus": &bus, "group": &group})
	return bus, group, err
}
