package lock

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Sources returns the scripts with a clock of the test: they read the time from two fields of a
// hash at clockKey.
func Sources(clockKey string) map[string]string {
	all := map[string]string{
		"mutex_acquire": mutexScripts.acquire.Source(), "mutex_release": mutexScripts.release.Source(),
		"mutex_renew": mutexScripts.renew.Source(), "mutex_inspect": mutexScripts.inspect.Source(),
		"mutex_heartbeat": mutexScripts.heartbeat.Source(),
		"shared_acquire":  sharedScripts.acquire.Source(), "shared_release": sharedScripts.release.Source(),
		"shared_renew": sharedScripts.renew.Source(), "shared_inspect": sharedScripts.inspect.Source(),
		"shared_heartbeat":   sharedScripts.heartbeat.Source(),
		"mutex_fast_acquire": fastAcquireScript.Source(), "mutex_fast_release": fastReleaseScript.Source(),
		"several_acquire": severalScripts.acquire.Source(), "fence": fenceLua,
	}
	for name, source := range all {
		all[name] = strings.ReplaceAll(source, "redis.call('TIME')", "redis.call('HMGET', '"+clockKey+"', 's', 'us')")
	}
	return all
}

// Points returns the failpoints of a Locker. The point "confirm" sets how long a waiter waits
// before it confirms a hand-off.
func Points(l *Locker) *failpoint.Points { return &l.renewer.points }

// Refused returns how many unconfirmed locks wait for another release after a failed one.
func Refused(l *Locker) (n int) {
	l.unconfirmed.mu.Lock()
	defer l.unconfirmed.mu.Unlock()
	for _, lk := range l.unconfirmed.list {
		if lk.state != resolved && lk.tries > 0 && !lk.sending {
			n++
		}
	}
	return n
}

// Renewer is a renewer with a clock and a server of the test.
type Renewer struct {
	*renewer
	Lost  chan string // ids of lost leases
	terms *callSettings
}

// NewRenewer starts a [Renewer]. renew returns for each id: 1 renewed, 0 gone, -1 no answer.
func NewRenewer(ctx context.Context, now func() (mono, wall time.Duration), ttl, margin time.Duration,
	renew func(ids []string) []int) *Renewer {
	r := &Renewer{newRenewer(func() instant { mono, wall := now(); return instant{mono, wall} }, nil),
		make(chan string, 100_000), &callSettings{ttl: ttl, margin: margin}}
	r.renew = func(leases []*lease) []renewResult {
		ids := make([]string, len(leases))
		for i, l := range leases {
			ids[i] = l.id
		}
		results := make([]renewResult, len(leases))
		for i, n := range renew(ids) {
			results[i] = map[int]renewResult{1: renewed, 0: gone, -1: unknown}[n]
		}
		return results
	}
	r.countRenewal = func() {}
	r.spawn = func(_ string, fn func(context.Context)) bool { go fn(ctx); return true }
	go r.run(ctx)
	return r
}

// Hold starts a lease whose request was sent just now.
func (r *Renewer) Hold(id, node string, maxHold time.Duration) (held context.Context, release func()) {
	return r.hold(id, node, maxHold, false)
}

// HoldProvisionally starts a lease that was handed over just now.
func (r *Renewer) HoldProvisionally(id, node string) (held context.Context, release func()) {
	return r.hold(id, node, 0, true)
}

func (r *Renewer) hold(id, node string, maxHold time.Duration, provisional bool) (held context.Context, release func()) {
	now := r.clock()
	l := &lease{id: id, settings: r.terms, node: node, start: now, clock: r.clock, heapIndex: -1}
	l.onLost = func(l *lease, _ error) { r.remove(l); r.Lost <- l.id }
	held, _ = l.context(context.Background())
	r.add(l, now, provisional, maxHold)
	return held, func() { l.end(errReleased); r.remove(l) }
}

// Count returns how many leases are held.
func (r *Renewer) Count() int { return r.count() }

// ClockOf returns the real clock.
func ClockOf() func() (mono, wall time.Duration) {
	c := newClock(nil)
	return func() (time.Duration, time.Duration) { now := c(); return now.mono, now.wall }
}

// FirstReleaseIsPicked reports whether a new unconfirmed lock is released before n locks with an
// earlier release.
func FirstReleaseIsPicked(l *Locker, n int) bool {
	u := newUnconfirmed(l)
	for range n {
		u.list = append(u.list, &unconfirmedLock{scripts: &mutexScripts, tries: 1})
	}
	fresh := &unconfirmedLock{scripts: &mutexScripts}
	u.list = append(u.list, fresh)
	due, _ := u.pick(time.Second)
	return slices.Contains(due[&mutexScripts], fresh)
}

// WakeChannels returns how long it takes to wake the one waiter of each of n channels, as after a
// reconnection.
func WakeChannels(n int) time.Duration {
	s := newWakeUps(nil, nil)
	var all []*channel
	for i := range n {
		ch := &channel{}
		ch.add(s.register(strconv.Itoa(i)))
		all = append(all, ch)
	}
	began := time.Now()
	for _, ch := range all {
		s.wakeAll(ch)
	}
	return time.Since(began)
}

// WaiterList is the waiters of a process for one name.
type WaiterList struct {
	waiterList
	turn int
}

// Add adds a waiter, Remove removes one, and Sample returns the waiters that the next request looks
// for.
func (w *WaiterList) Add(id string)    { w.add(id) }
func (w *WaiterList) Remove(id string) { w.remove(id) }
func (w *WaiterList) Sample() []string { return w.sample(&w.turn) }

// List returns all waiters in order.
func (w *WaiterList) List() []string { return w.list() }
