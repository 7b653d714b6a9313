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

// Info is what the server knows of one lock, for operators and dashboards.
type Info struct {
	Name      string
	LastToken int64 // the last one that was given
	Held      int   // holders whose lease lasts
	Waiting   int   // places in the queue, dead waiters among them that no script has removed yet
	Holders   []Holder
	Waiters   []Waiter // in order; Holders and Waiters list up to 100 each
}

// Holder is one hold.
type Holder struct {
	ID        string        // of this acquisition
	Process   string        // Options.Process of the process that has it
	Token     int64         // 0 if the server has lost it
	Remaining time.Duration // of the lease, which the holder renews
	Permits   int           // of a semaphore, else 1
}

// Waiter is one place in a queue.
type Waiter struct {
	ID      string
	Process string
	Waited  time.Duration
	Permits int
}

const inspectLimit = 100

// Inspect reads who holds the lock of that name and who waits for it: one round trip, no write.
func (l *Locker) Inspect(ctx context.Context, name string) (Info, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return Info{}, err
	}
	return l.inspect(ctx, &t)
}

// Inspect is Locker.Inspect for a semaphore or a side of a read-write lock, whose two sides are one lock. The names of
// an All are plain locks: inspect them with Locker.Inspect.
func (g *Resource) Inspect(ctx context.Context) (Info, error) { return g.locker.inspect(ctx, g.target) }

// Break ends a hold that Inspect has shown, for an operator who knows that its process hangs: one round trip. The lock
// passes to the first waiter. It reports whether the hold was still there.
//
// The holder is not asked: until its next renewal finds the lock gone, at most TTL/3 later, two may believe that they
// hold it, as after a failover. The token fences what the first still sends.
func (l *Locker) Break(ctx context.Context, name string, h Holder) (bool, error) {
	t, err := l.target(kindMutex, name, 0)
	if err != nil {
		return false, err
	}
	return l.breakHold(ctx, &t, h)
}

// Break is Locker.Break for a semaphore or a side of a read-write lock.
func (g *Resource) Break(ctx context.Context, h Holder) (bool, error) {
	return g.locker.breakHold(ctx, g.target, h)
}

func (l *Locker) breakHold(ctx context.Context, t *target, h Holder) (bool, error) {
	if t.parts != nil {
		return false, fmt.Errorf("lock: break: an All has several names: use Locker.Break for each")
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
	l.core.Logger().Warn("redstart: a lock was broken by Break", "locker", l.opt.Name, "lock", t.name, "holder", h.ID, "token", h.Token, "held", answer == releasedLock)
	return answer == releasedLock, nil
}

func (l *Locker) inspect(ctx context.Context, t *target) (Info, error) {
	if t.parts != nil {
		return Info{}, fmt.Errorf("lock: inspect: an All has several names: use Locker.Inspect for each")
	}
	msg, err := l.core.Eval(ctx, t.scripts.inspect, l.keys(t), []string{strconv.Itoa(inspectLimit)})
	if err != nil {
		return Info{}, fmt.Errorf("lock: inspect %s: %w", quoted(t.name), err)
	}
	fields, err := msg.ToArray()
	info, ok := readInfo(fields)
	if err != nil || !ok {
		return Info{}, fmt.Errorf("lock: inspect %s: %w: a script answered %d fields", quoted(t.name), redstart.ErrCorrupt, len(fields))
	}
	info.Name = t.name
	return info, nil
}

// readInfo reads the answer of mutex_inspect.lua.
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
			ID: id, Process: process, Token: number(at + 1), Remaining: time.Duration(number(at+2)) * time.Microsecond, Permits: permits,
		})
	}
	for at := rest; at < len(fields); at += 2 {
		id := text(at)
		process, permits := readID(id)
		info.Waiters = append(info.Waiters, Waiter{ID: id, Process: process, Waited: time.Duration(number(at+1)) * time.Microsecond, Permits: permits})
	}
	return info, ok
}

// readID takes an owner's id apart: "<kind><permits>.<holder>~<random>.<number>". Releases before Options.Process have no
// holder there; then the process is what they have.
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
