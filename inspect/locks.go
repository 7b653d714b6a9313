package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/lockview"
	"github.com/redstart-go/redstart/lock" // registers its formats
)

// LockKind is the kind of a lock.
type LockKind string

// The kinds of locks. An election is a mutex: its leader is the holder, and its candidates are the
// waiters.
const (
	Mutex     LockKind = LockKind(lockview.Mutex)
	Semaphore LockKind = LockKind(lockview.Semaphore)
	ReadWrite LockKind = LockKind(lockview.ReadWrite)
)

// LockID identifies a lock. The kinds have separate names: a mutex and a semaphore of one name are
// two locks.
type LockID struct {
	Name string `json:"name"`
	// Kind is the kind of the lock. Empty: [Mutex].
	Kind LockKind `json:"kind"`
	// Group is lock.Options.Group of its Locker. Empty: none.
	Group string `json:"group,omitempty"`
}

func (id LockID) view() lockview.ID {
	if id.Kind == "" {
		id.Kind = Mutex
	}
	return lockview.ID{Kind: lockview.Kind(id.Kind), Name: id.Name, Group: id.Group}
}

// Lock is a lock as the server knows it.
type Lock struct {
	LockID
	// LastToken is the fencing token that was granted last.
	LastToken int64 `json:"last_token"`
	// Held is how many holders the lock has, and Waiting the length of its queue. Waiters whose
	// processes died count until the next waiter removes them.
	Held    int `json:"held"`
	Waiting int `json:"waiting"`
	// Holders and Waiters list the first 100 of each, and the first 5 in a list of locks. Waiters
	// are in the order of the queue.
	Holders []LockHolder `json:"holders"`
	Waiters []LockWaiter `json:"waiters"`
	// Problem says why the other fields are empty: the stored value is not a lock of this release.
	Problem string `json:"problem,omitempty"`
}

// LockHolder is one hold of a lock.
type LockHolder struct {
	// ID identifies the hold, for [Locks.Break].
	ID string `json:"id"`
	// Process is lock.Options.Process of the holder.
	Process string `json:"process"`
	// Token is the fencing token of the hold. 0: the server lost it.
	Token int64 `json:"token"`
	// Remaining is the rest of the lease, which the holder renews.
	Remaining Duration `json:"remaining"`
	// Permits is how many permits of a semaphore the hold has; otherwise 1.
	Permits int `json:"permits"`
	// Side is reader or writer of a read-write lock; otherwise it is empty.
	Side string `json:"side,omitempty"`
}

// LockWaiter is one place in the queue of a lock.
type LockWaiter struct {
	ID      string   `json:"id"`
	Process string   `json:"process"`
	Waited  Duration `json:"waited"`
	Permits int      `json:"permits"`
	Side    string   `json:"side,omitempty"`
	// Several reports that the waiter waits for several locks together.
	Several bool `json:"several,omitempty"`
}

// Locks are the locks, elections, semaphores and read-write locks of the namespace. See
// [Inspector.Locks].
type Locks struct {
	in   *Inspector
	view lockview.Functions
}

// Locks returns the locks of the namespace.
func (in *Inspector) Locks() *Locks { return &Locks{in, lockview.Of()} }

// The bounds of the holders and waiters of one lock.
const (
	lockDetails     = 100
	lockListDetails = 5
)

// List returns the locks that have a holder or a waiter, and values in their place that are not
// locks of this release. Free locks, which the server keeps for 10 minutes, are not listed.
func (l *Locks) List(ctx context.Context, p Page) (List[Lock], error) {
	pattern, err := l.view.Pattern(l.in.core)
	if err != nil {
		return List[Lock]{}, failure("list locks", "", err)
	}
	list, err := scan(ctx, l.in, "locks", pattern, p, l.visit)
	if err != nil {
		return list, failure("list locks", "", err)
	}
	return list, nil
}

// visit returns the locks of one step of a scan that are in use.
func (l *Locks) visit(ctx context.Context, found []string) ([]Lock, error) {
	var ids []lockview.ID
	var used []Lock
	for _, key := range found {
		id, ok := l.view.Parse(l.in.core, key)
		switch {
		case !ok:
		case len(id.Name) > lock.MaxName || len(id.Group) > lock.MaxName:
			used = append(used, Lock{
				LockID:  LockID{Name: truncated(id.Name), Kind: LockKind(id.Kind), Group: truncated(id.Group)},
				Holders: []LockHolder{}, Waiters: []LockWaiter{},
				Problem: fmt.Sprintf("another program wrote this key: its name has %d bytes, and names of locks have at most %d",
					len(id.Name)+len(id.Group), lock.MaxName)})
		default:
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return used, nil
	}

	for i, r := range l.view.Read(ctx, l.in.core, ids, lockListDetails) {
		one, err := lockOf(ids[i], r)
		if err != nil {
			return nil, err
		}
		if one.Held+one.Waiting > 0 || one.Problem != "" {
			used = append(used, one)
		}
	}
	return used, nil
}

// Show returns one lock: one round trip. A lock that the server does not know is a free lock whose
// LastToken is 0.
func (l *Locks) Show(ctx context.Context, id LockID) (Lock, error) {
	shown, err := lockOf(id.view(), l.view.Read(ctx, l.in.core, []lockview.ID{id.view()}, lockDetails)[0])
	if err != nil {
		return Lock{}, failure("show lock", quoted(id.Name), err)
	}
	return shown, nil
}

// Break ends one hold of a lock, whose ID [Locks.Show] returned. An empty holder stands for each
// hold that the lock has now, at most 100. Break returns how many holds it ended. If it ended none,
// it returns [ErrNotFound]: the holder has released the lock, or has lost it.
//
// The lock is handed to the first waiter. A waiter for a semaphore gets its permit within 0.9 s.
// The holder is not notified: until its next renewal, at most a third of its TTL later, two
// processes may believe that they hold the lock. Its fencing token covers the writes of the first
// holder. So break a lock only if you know that the process of its holder hangs.
func (l *Locks) Break(ctx context.Context, id LockID, holder string) (int64, error) {
	r := repair{"lock", "break", id.Name, holder}
	return l.in.repair(ctx, r, func(ctx context.Context) (ended int64, err error) {
		state := l.view.Read(ctx, l.in.core, []lockview.ID{id.view()}, lockDetails)[0]
		if state.Err != nil {
			return 0, state.Err
		}
		for _, h := range chosen(&state.State, holder) {
			held, err := l.view.Break(ctx, l.in.core, id.view(), h)
			if err != nil {
				return ended, err
			}
			if held {
				ended++
			}
		}
		if ended == 0 {
			return 0, ErrNotFound
		}
		return ended, nil
	})
}

// chosen returns the holds to break. A hold that is not among the listed ones is broken by its id,
// unless all holds are listed. An id of a waiter is never chosen: it would leave the queue.
func chosen(state *lockview.State, holder string) []lockview.Holder {
	if holder == "" {
		return state.Holders
	}
	for _, h := range state.Holders {
		if h.ID == holder {
			return []lockview.Holder{h}
		}
	}
	waits := slices.ContainsFunc(state.Waiters, func(w lockview.Waiter) bool { return w.ID == holder })
	if waits || state.Held <= len(state.Holders) {
		return nil
	}
	return []lockview.Holder{{ID: holder}}
}

// lockOf converts the state of a lock. A value of another format is not an error.
func lockOf(id lockview.ID, r lockview.Result) (Lock, error) {
	one := Lock{LockID: LockID{Name: id.Name, Kind: LockKind(id.Kind), Group: id.Group},
		Holders: []LockHolder{}, Waiters: []LockWaiter{}}
	switch {
	case errors.Is(r.Err, fault.ErrCorrupt):
		one.Problem = problemOf(r.Err)
		return one, nil
	case r.Err != nil:
		return one, r.Err
	}

	one.LastToken, one.Held, one.Waiting = r.State.LastToken, r.State.Held, r.State.Waiting
	for _, h := range r.State.Holders {
		one.Holders = append(one.Holders, LockHolder{ID: h.ID, Process: h.Process, Token: h.Token,
			Remaining: micros(h.Remaining), Permits: h.Permits, Side: h.Side})
	}
	for _, w := range r.State.Waiters {
		one.Waiters = append(one.Waiters, LockWaiter{ID: w.ID, Process: w.Process,
			Waited: micros(w.Waited), Permits: w.Permits, Side: w.Side, Several: w.Several})
	}
	return one, nil
}

func micros(n int64) Duration { return Duration(time.Duration(n) * time.Microsecond) }

// problemOf returns the text of the server or of the decoder, bounded.
func problemOf(err error) string { return truncated(err.Error()) }
