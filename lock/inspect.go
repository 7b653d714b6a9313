package lock

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/core"
)

// Info describes one lock as the server knows it, for operators and dashboards.
type Info struct {
	Name      string
	LastToken int64 // the last token that was granted
	Held      int   // number of holders
	Waiting   int   // length of the queue, with dead waiters that are not removed yet
	Holders   []Holder
	Waiters   []Waiter // in order of the queue; Holders and Waiters list up to 100 each
}

// Holder describes one hold.
type Holder struct {
	ID        string        // id of this acquisition
	Process   string        // [Options.Process] of the holder
	Token     int64         // fencing token; 0 if the server lost it
	Remaining time.Duration // rest of the lease, which the holder renews
	Permits   int           // permits of a semaphore; otherwise 1
}

// Waiter describes one place in a queue.
type Waiter struct {
	ID      string
	Process string
	Waited  time.Duration
	Permits int
}

const inspectLimit = 100

// Inspect reads the holder and the waiters of a lock. It takes one round trip and writes nothing.
func (l *Locker) Inspect(ctx context.Context, name string) (Info, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return Info{}, err
	}
	return l.inspect(ctx, &t)
}

// Inspect reads the holders and the waiters, as [Locker.Inspect] does. Both sides of a read-write
// lock are one lock. For All it returns an error: inspect each name with Locker.Inspect.
func (r *Resource) Inspect(ctx context.Context) (Info, error) { return r.locker.inspect(ctx, r.target) }

// Break ends a hold that [Locker.Inspect] returned. It is for operators who know that the holder's
// process hangs. It takes one round trip. The lock is handed to the first waiter. Break reports
// whether the hold still existed.
//
// The holder is not notified. Until its next renewal, at most TTL/3 later, two processes may
// believe that they hold the lock, as after a failover. The fencing token covers the writes of the
// first holder.
func (l *Locker) Break(ctx context.Context, name string, h Holder) (bool, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return false, err
	}
	return l.breakHold(ctx, &t, h)
}

// Break ends a hold of a semaphore or of a side of a read-write lock, as [Locker.Break] does.
func (r *Resource) Break(ctx context.Context, h Holder) (bool, error) {
	return r.locker.breakHold(ctx, r.target, h)
}

func (l *Locker) breakHold(ctx context.Context, t *target, h Holder) (bool, error) {
	if t.parts != nil {
		return false, fmt.Errorf("lock: break: All has several names: use Locker.Break for each name")
	}

	call := l.releaseCall(t, h.ID, max(h.Token, 1))
	msg, err := l.core.Eval(ctx, t.scripts.release, call.Keys, call.Args)
	if err != nil {
		return false, fmt.Errorf("lock: break %s: %w", quoted(t.name), err)
	}

	answer, err := l.released(msg.AsInt64())
	if err != nil {
		return false, fmt.Errorf("lock: break %s: %w", quoted(t.name), err)
	}

	l.core.Logger().Warn("redstart: a lock was broken by Break", "locker", l.opt.Name, "lock", t.name,
		"holder", h.ID, "token", h.Token, "held", answer == releasedLock)
	return answer == releasedLock, nil
}

func (l *Locker) inspect(ctx context.Context, t *target) (Info, error) {
	if t.parts != nil {
		return Info{}, fmt.Errorf("lock: inspect: All has several names: use Locker.Inspect for each name")
	}

	msg, err := l.core.Eval(ctx, t.scripts.inspect, l.keys(t), []string{strconv.Itoa(inspectLimit)})
	if err != nil {
		return Info{}, fmt.Errorf("lock: inspect %s: %w", quoted(t.name), err)
	}

	fields, err := msg.ToArray()
	info, ok := readInfo(fields)
	if err != nil || !ok {
		return Info{}, fmt.Errorf("lock: inspect %s: %w: the script answered %d fields", quoted(t.name),
			redstart.ErrCorrupt, len(fields))
	}

	info.Name = t.name
	return info, nil
}

// readInfo parses the answer of mutex_inspect.lua and shared_inspect.lua.
func readInfo(fields []core.Reply) (info Info, ok bool) {
	if len(fields) < 4 {
		return info, false
	}

	number := func(at int) int64 {
		n, err := fields[at].AsInt64()
		ok = ok && err == nil
		return n
	}

	text := func(at int) string {
		s, err := fields[at].ToString()
		ok = ok && err == nil
		return s
	}

	ok = true
	info.LastToken, info.Held, info.Waiting = number(0), int(number(1)), int(number(2))
	listed := int(number(3))
	rest := 4 + 3*listed
	if listed < 0 || rest > len(fields) || (len(fields)-rest)%2 != 0 {
		return info, false
	}

	for at := 4; at < rest; at += 3 {
		id := text(at)
		process, permits := readID(id)
		info.Holders = append(info.Holders, Holder{
			ID: id, Process: process, Token: number(at + 1),
			Remaining: time.Duration(number(at+2)) * time.Microsecond, Permits: permits,
		})
	}

	for at := rest; at < len(fields); at += 2 {
		id := text(at)
		process, permits := readID(id)
		info.Waiters = append(info.Waiters, Waiter{ID: id, Process: process,
			Waited: time.Duration(number(at+1)) * time.Microsecond, Permits: permits})
	}

	return info, ok
}

// readID splits an owner's id: "<kind><permits>.<process>~<random>.<number>". Ids of releases
// before Options.Process have no "~". Then the process is the whole middle part.
func readID(id string) (process string, permits int) {
	head, rest, _ := strings.Cut(id, ".")
	permits = 1
	if len(head) > 1 {
		if n, err := strconv.Atoi(head[1:]); err == nil {
			permits = n
		}
	}

	if at := strings.LastIndexByte(rest, '.'); at >= 0 {
		rest = rest[:at]
	}

	if at := strings.LastIndexByte(rest, '~'); at >= 0 {
		rest = rest[:at]
	}

	return rest, permits
}
