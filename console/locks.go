package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/inspect"
)

// locksView is the content of the page Locks.
type locksView struct {
	Asked bool
	ID    lockID // of the form, and of the lock that is shown
	Kinds []string
	Shown section[lockRow]
	List  section[lockList]
	Pager pager
	Back  string
}

type lockID struct {
	Name, Group name
	Kind        string
}

type lockList struct {
	Rows []lockRow
	More more
}

// lockRow is a lock with its holders and its queue.
type lockRow struct {
	lockID
	LastToken     int64
	Held, Waiting int
	Holders       []holderRow
	Waiters       []waiterRow
	Problem       string
}

type holderRow struct {
	ID, Process name
	Token       int64
	Remaining   time.Duration
	Permits     int
	Side        string
	ManyPermits bool
}

type waiterRow struct {
	Process name
	Waited  time.Duration
	Permits int
	Side    string
	Several bool
}

func (c *Console) locksPage(ctx context.Context, req request) any {
	id := inspect.LockID{Name: req.arg("name"), Kind: kindOf(req.arg("kind")), Group: req.arg("group")}
	v := locksView{
		Asked: id.Name != "", ID: lockID{nameOf(id.Name), nameOf(id.Group), string(id.Kind)},
		Kinds: []string{string(inspect.Mutex), string(inspect.Semaphore), string(inspect.ReadWrite)},
		Back:  c.self("/locks", req),
	}
	locks := c.inspector.Locks()
	if v.Asked {
		v.Shown = load(ctx, &c.kept, "lock "+v.Back, func(ctx context.Context) (lockRow, error) {
			one, err := locks.Show(ctx, id)
			return lockRowOf(&one), err
		})
	}
	cursor := req.arg("cursor")
	v.List = load(ctx, &c.kept, "locks "+cursor, func(ctx context.Context) (lockList, error) {
		list, err := locks.List(ctx, inspect.Page{Cursor: cursor})
		rows := lockList{More: moreOf(list.Next, list.Scanned, list.Complete)}
		for i := range list.Items {
			rows.Rows = append(rows.Rows, lockRowOf(&list.Items[i]))
		}
		slices.SortFunc(rows.Rows, func(a, b lockRow) int { return strings.Compare(a.Name.Text+a.Kind, b.Name.Text+b.Kind) })
		return rows, err
	})
	v.Pager = c.pager("/locks", req, v.List.Value.More)
	return v
}

// kindOf returns a known kind of locks.
func kindOf(text string) inspect.LockKind {
	for _, kind := range []inspect.LockKind{inspect.Semaphore, inspect.ReadWrite} {
		if text == string(kind) {
			return kind
		}
	}
	return inspect.Mutex
}

func lockRowOf(l *inspect.Lock) lockRow {
	row := lockRow{
		lockID: lockID{nameOf(l.Name), nameOf(l.Group), string(l.Kind)}, LastToken: l.LastToken, Held: l.Held,
		Waiting: l.Waiting, Problem: printable(l.Problem, maxShown),
	}
	for _, h := range l.Holders {
		row.Holders = append(row.Holders, holderRow{
			ID: nameOf(h.ID), Process: nameOf(processOf(h.Process)), Token: h.Token, Remaining: time.Duration(h.Remaining),
			Permits: h.Permits, Side: h.Side, ManyPermits: l.Kind == inspect.Semaphore,
		})
	}
	for _, w := range l.Waiters {
		row.Waiters = append(row.Waiters, waiterRow{
			Process: nameOf(processOf(w.Process)), Waited: time.Duration(w.Waited), Permits: w.Permits, Side: w.Side, Several: w.Several,
		})
	}
	return row
}

// processOf returns the name of a process for people. Processes without a name have an empty one.
func processOf(process string) string {
	if strings.TrimSpace(process) == "" {
		return "unnamed process"
	}
	return process
}

func breakLock(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	id := inspect.LockID{Kind: kindOf(f.plain("kind"))}
	var holder string
	if err := f.names(map[string]*string{"name": &id.Name, "group": &id.Group, "holder": &holder}); err != nil {
		return 0, err
	}
	return in.Locks().Break(ctx, id, holder)
}
