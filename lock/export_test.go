package lock

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Sources are the scripts as the server gets them, but with a clock of the test's: they read it from two fields of a hash
// at this key.
func Sources(clockKey string) map[string]string {
	all := map[string]string{
		"mutex_acquire": mutexScripts.acquire.Source(), "mutex_release": mutexScripts.release.Source(), "mutex_renew": mutexScripts.renew.Source(), "mutex_inspect": mutexScripts.inspect.Source(), "mutex_heartbeat": mutexScripts.heartbeat.Source(),
		"shared_acquire": sharedScripts.acquire.Source(), "shared_release": sharedScripts.release.Source(), "shared_renew": sharedScripts.renew.Source(), "shared_inspect": sharedScripts.inspect.Source(), "shared_heartbeat": sharedScripts.heartbeat.Source(),
		"mutex_fast_acquire": fastAcquireScript.Source(), "mutex_fast_release": fastReleaseScript.Source(), "several_acquire": severalScripts.acquire.Source(), "fence": fenceLua,
	}
	for name, source := range all {
		all[name] = strings.ReplaceAll(source, "redis.call('TIME')", "redis.call('HMGET', '"+clockKey+"', 's', 'us')")
	}
	return all
}

// Points of a Locker: "confirm" is how long it waits before it confirms what was passed to it.
func Points(l *Locker) *failpoint.Points { return &l.renewer.points }

// Refused is how many unconfirmed locks wait for their next release after one in the background has failed.
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

// Keeper is a keeper whose clock and server are the test's.
type Keeper struct {
	*renewer
	Lost  chan string // ids, as they are lost
	terms *callSettings
}

// NewKeeper starts one. Renew answers 1 renewed, 0 gone, -1 no answer.
func NewKeeper(ctx context.Context, now func() (mono, wall time.Duration), ttl, margin time.Duration, renew func(ids []string) []int) *Keeper {
	k := &Keeper{newRenewer(func() instant { mono, wall := now(); return instant{mono, wall} }), make(chan string, 100_000), &callSettings{ttl: ttl, margin: margin}}
	k.renew = func(leases []*lease) []renewResult {
		ids := make([]string, len(leases))
		for i, l := range leases {
			ids[i] = l.id
		}
		verdicts := make([]renewResult, len(leases))
		for i, n := range renew(ids) {
			verdicts[i] = map[int]renewResult{1: renewed, 0: gone, -1: unknown}[n]
		}
		return verdicts
	}
	k.countRenewal = func() {}
	k.spawn = func(_ string, fn func(context.Context)) bool { go fn(ctx); return true }
	go k.run(ctx)
	return k
}

// Hold begins a lease, whose request left just now.
func (k *Keeper) Hold(id, node string, maxHold time.Duration) (held context.Context, release func()) {
	return k.hold(id, node, maxHold, false)
}

// HoldBriefly begins a lease that was passed on just now.
func (k *Keeper) HoldBriefly(id, node string) (held context.Context, release func()) {
	return k.hold(id, node, 0, true)
}

func (k *Keeper) hold(id, node string, maxHold time.Duration, brief bool) (held context.Context, release func()) {
	now := k.clock()
	l := &lease{id: id, settings: k.terms, node: node, start: now, clock: k.clock, heapIndex: -1}
	l.onLost = func(l *lease, _ error) { k.remove(l); k.Lost <- l.id }
	held, _ = l.context(context.Background())
	k.add(l, now, brief, maxHold)
	return held, func() { l.end(errReleased); k.remove(l) }
}

// Count is how many are held.
func (k *Keeper) Count() int { return k.count() }

// ClockOf is the real clock.
func ClockOf() func() (mono, wall time.Duration) {
	c := newClock()
	return func() (time.Duration, time.Duration) { now := c(); return now.mono, now.wall }
}

// FirstReleaseIsPicked reports whether an unconfirmed lock that is new is released before n that were asked for before.
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

// WakeChannels is how long it takes to wake the one waiter of each of n channels, as after a reconnection.
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

// Places is the waiters of a process for one name.
type Places struct {
	waiterList
	turn int
}

// Add, Remove and Sample are a waiter that comes, one that leaves, and those that the next request looks for.
func (p *Places) Add(id string)    { p.add(id) }
func (p *Places) Remove(id string) { p.remove(id) }
func (p *Places) Sample() []string { return p.sample(&p.turn) }

// List is all in order.
func (p *Places) List() []string { return p.list() }
