package lock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/lockview"
)

// Package inspect reads and breaks locks through package lockview. It has no Locker: a Locker
// renews and waits, and lives as long as its client.
var _ = lockview.Register(lockview.Functions{
	Pattern: viewPattern, Parse: viewParse, Read: viewRead, Break: viewBreak,
})

// viewer returns a Locker that can only inspect and break.
func viewer(c *core.Core, group string) (*Locker, error) {
	space, err := c.Keys("lock", "")
	if err != nil {
		return nil, err
	}
	return &Locker{core: c, space: space, opt: Options{Group: group, Name: "inspect"}}, nil
}

func viewPattern(c *core.Core) (string, error) {
	space, err := c.Keys("lock", "")
	return space.Match(""), err
}

// viewParse is the reverse of [Locker.key] for the first key of each kind of lock.
func viewParse(c *core.Core, key string) (lockview.ID, bool) {
	space, err := c.Keys("lock", "")
	if err != nil {
		return lockview.ID{}, false
	}
	tag, suffix, sibling, ok := space.Split(key)
	if !ok {
		return lockview.ID{}, false
	}

	part, name, grouped := strings.Cut(suffix, ":")
	kind, ok := map[string]lockview.Kind{"": lockview.Mutex, "s": lockview.Semaphore, "r": lockview.ReadWrite}[part]
	switch {
	case !ok:
		return lockview.ID{}, false
	case grouped:
		return lockview.ID{Kind: kind, Name: name, Group: tag}, true
	case sibling && part == "":
		return lockview.ID{}, false // an empty suffix: of another program
	}
	return lockview.ID{Kind: kind, Name: tag}, true
}

// noPermits as the size of a semaphore makes release.lua hand nothing on: only the processes that
// use the semaphore know its size. A waiter gets the permit with the next heartbeat of its process,
// at most pollEvery later.
const noPermits = 0

// viewTarget returns the target of an id, and a Locker for it.
func viewTarget(c *core.Core, id lockview.ID) (*Locker, *target, error) {
	l, err := viewer(c, id.Group)
	if err != nil {
		return nil, nil, err
	}
	if len(id.Group) > MaxName {
		return nil, nil, tooLong("group", id.Group)
	}
	kind, ok := map[lockview.Kind]byte{lockview.Mutex: kindMutex, lockview.Semaphore: kindPermit, lockview.ReadWrite: kindReader}[id.Kind]
	if !ok {
		return nil, nil, fmt.Errorf("lock: %s is not a kind of lock: use mutex, semaphore or read-write", quoted(string(id.Kind)))
	}
	t, err := l.target(kind, id.Name, noPermits)
	return l, &t, err
}

// viewRead sends one pipeline per kind of script, so at most two.
func viewRead(ctx context.Context, c *core.Core, ids []lockview.ID, limit int) []lockview.Result {
	results := make([]lockview.Result, len(ids))
	for _, scripts := range []*scriptSet{&mutexScripts, &sharedScripts} {
		var calls []core.Call
		var at []int
		for i, id := range ids {
			l, t, err := viewTarget(c, id)
			if err != nil {
				results[i].Err = err
				continue
			}
			if t.scripts == scripts {
				calls = append(calls, core.Call{Keys: l.keys(t), Args: []string{strconv.Itoa(limit)}})
				at = append(at, i)
			}
		}
		for j, r := range c.EvalMulti(ctx, scripts.inspect, calls) {
			results[at[j]] = viewResult(r.Get())
		}
	}
	return results
}

func viewResult(msg core.Reply, err error) lockview.Result {
	if err != nil {
		return lockview.Result{Err: err}
	}
	fields, err := msg.ToArray()
	info, ok := readInfo(fields)
	if err != nil || !ok {
		return lockview.Result{Err: fmt.Errorf("%w: the script answered %d fields", redstart.ErrCorrupt, len(fields))}
	}

	state := lockview.State{LastToken: info.LastToken, Held: info.Held, Waiting: info.Waiting}
	for _, h := range info.Holders {
		state.Holders = append(state.Holders, lockview.Holder{ID: h.ID, Process: h.Process, Token: h.Token,
			Remaining: h.Remaining.Microseconds(), Permits: h.Permits, Side: sideOf(h.ID)})
	}
	for _, w := range info.Waiters {
		state.Waiters = append(state.Waiters, lockview.Waiter{ID: w.ID, Process: w.Process,
			Waited: w.Waited.Microseconds(), Permits: w.Permits, Side: sideOf(w.ID), Several: kindOf(w.ID) == kindAll})
	}
	return lockview.Result{State: state}
}

// kindOf returns the first byte of an owner's id, 0 for an empty id.
func kindOf(id string) byte {
	if id == "" {
		return 0
	}
	return id[0]
}

// sideOf returns the side of a read-write lock that an owner's id wants or has.
func sideOf(id string) string {
	switch kindOf(id) {
	case kindReader:
		return "reader"
	case kindWriter:
		return "writer"
	}
	return ""
}

func viewBreak(ctx context.Context, c *core.Core, id lockview.ID, h lockview.Holder) (bool, error) {
	l, t, err := viewTarget(c, id)
	if err != nil {
		return false, err
	}
	return l.breakHold(ctx, t, Holder{ID: h.ID, Process: h.Process, Token: h.Token,
		Remaining: time.Duration(h.Remaining) * time.Microsecond, Permits: h.Permits})
}
