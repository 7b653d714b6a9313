package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestK1_AFailoverLosesUnreplicatedLocks shows the limit of K1 without MinReplicas. Locks that no
// replica had when the primary died are granted again by the new primary while their first holders
// still believe. The first holders notice at their next renewal. The fencing token covers the time
// until then.
func TestK1_AFailoverLosesUnreplicatedLocks(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	set := newFailover(t)
	first := open(t, set.URL(), set.namespace, patient)
	for _, link := range set.links {
		link.Stall()
	}
	type hold struct {
		ttl   time.Duration
		held  *lock.Lock
		ended chan time.Time
	}
	var holds []hold
	for _, ttl := range []time.Duration{1500 * time.Millisecond, 3 * time.Second, 6 * time.Second,
		12 * time.Second, 24 * time.Second} {
		h := hold{ttl, mustTry(t, newLocker(t, first, lock.Options{TTL: ttl}), ttl.String()), make(chan time.Time, 1)}
		context.AfterFunc(h.held.Context(), func() { h.ended <- time.Now() })
		holds = append(holds, h)
	}
	newPrimary := set.failover()

	granted, overlaps, behind := make([]time.Time, len(holds)), 0, 0
	for i, h := range holds {
		next := mustTry(t, newPrimary, h.ttl.String()) // the new primary lacks all of them
		granted[i] = time.Now()
		if next.Token() <= h.held.Token() {
			t.Errorf("token %d after %d", next.Token(), h.held.Token())
		}
		store := &row{}
		const query = "UPDATE t SET value = $1, fence = $2 WHERE fence <= $2"
		if err := lock.FencedExec(t.Context(), store, query, int64(2), next.Token()); err != nil {
			t.Error(err)
		}
		if err := lock.FencedExec(t.Context(), store, query, int64(1), h.held.Token()); !errors.Is(err,
			lock.ErrLost) || store.value != 2 {
			behind++
			t.Errorf("the first holder's write: %v, the store has %d", err, store.value)
		}
		if err := newPrimary.FencedSet(t.Context(), next, h.ttl.String(), []byte("second"), time.Minute); err != nil {
			t.Error(err)
		}
		if h.held.Context().Err() == nil {
			overlaps++
		} else if i == len(holds)-1 {
			t.Error("no two holders at once: this run did not show the limit")
		}
	}
	last := holds[len(holds)-1]
	late := newLocker(t, first, lock.Options{})
	rig.Eventually(t, 30*time.Second, "the new primary answers the first holder", func() bool {
		err := late.FencedSet(t.Context(), last.held, last.ttl.String(), []byte("first"), time.Minute)
		if err == nil {
			t.Fatal("the first holder overwrote what the second had written")
		}
		return errors.Is(err, lock.ErrLost)
	})

	for i, h := range holds {
		var ended time.Time
		select {
		case ended = <-h.ended:
		case <-time.After(h.ttl + 30*time.Second):
			t.Fatalf("TTL %v: the first holder never loses the lock", h.ttl)
		}
		if cause := context.Cause(h.held.Context()); !errors.Is(cause, lock.ErrLost) {
			t.Errorf("TTL %v: the first holder's context ended: %v", h.ttl, cause)
		}
		if err := h.held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("TTL %v: the first holder's release: %v", h.ttl, err)
		}
		both := ended.Sub(granted[i])
		if both > h.ttl/3+clientcore.Of(first).Timeout() {
			t.Errorf("TTL %v: two holders for %v", h.ttl, both)
		}
		if both < 0 {
			t.Logf("TTL %5v: lost %v before the new primary gave it again", h.ttl, -both.Round(time.Millisecond))
		} else {
			t.Logf("TTL %5v: two holders for %v", h.ttl, both.Round(time.Millisecond))
		}
	}
	t.Logf("the new primary granted %d locks again, %d while the first holder believed; "+
		"%d fenced writes of a first holder came after writes of a second", len(holds), overlaps, behind)
}

// TestK1_AFailoverKeepsConfirmedLocks: no failover loses a lock that all replicas confirmed. A lock
// that one of two replicas confirmed is lost if the other is promoted. A lock that too few replicas
// confirmed was never granted and is not held.
func TestK1_AFailoverKeepsConfirmedLocks(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const rounds = 25
	for _, tt := range []struct {
		name string
		both bool // whether the replica that confirmed dies with the primary
	}{{"the primary dies", false}, {"the replica that confirmed dies too", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set := newFailover(t)
			client := open(t, set.URL(), set.namespace, patient)
			hasty := open(t, set.URL(), set.namespace, func(cfg *redstart.Config) { cfg.CommandTimeout = time.Second })
			plain := newLocker(t, client, lock.Options{})
			// No lease is renewed during the test, because the test is about the grant.
			options := func(n int) lock.Options { return lock.Options{MinReplicas: n, TTL: 10 * time.Minute} }
			grant := func(what string, n int) (held []*lock.Lock) {
				l := newLocker(t, client, options(n))
				for i := range rounds {
					held = append(held, mustAcquire(t, l, fmt.Sprint(what, i)))
				}
				return held
			}
			short := func(name string, n, of int) {
				t.Helper()
				l := newLocker(t, hasty, options(n))
				rig.Eventually(t, 20*time.Second, "the server answers within the deadline", func() bool {
					_, err := l.Acquire(t.Context(), name)
					if err == nil {
						t.Fatalf("granted, and %d of %d replicas have it", of, n)
					}
					return errors.Is(err, lock.ErrNotReplicated) && strings.Contains(err.Error(), fmt.Sprintf("%d of %d", of, n))
				})
				rig.Eventually(t, 10*time.Second, "the unconfirmed lock has no holder", func() bool {
					held, err := plain.TryAcquire(t.Context(), name)
					if err == nil {
						mustRelease(t, held)
					}
					return err == nil
				})
			}

			byAll := grant("all", 2)
			set.links[0].Stall()
			byOne := grant("one", 1)
			short("short of two", 2, 1)
			set.links[1].Stall()
			short("short of one", 1, 0)

			if tt.both {
				set.replicas[1].Kill()
			}
			newPrimary := set.failover()
			lost := func(holds []*lock.Lock) (n int) {
				for _, held := range holds {
					if held.Context().Err() != nil {
						t.Fatalf("the first holder of %s has lost it: this run shows nothing", held.Name())
					}
					next, err := newPrimary.TryAcquire(t.Context(), held.Name())
					switch {
					case err == nil:
						n++
						if next.Token() <= held.Token() {
							t.Errorf("token %d after %d", next.Token(), held.Token())
						}
					case !errors.Is(err, lock.ErrNotAcquired):
						t.Fatal(err)
					}
				}
				return n
			}
			lagging := set.next == set.replicas[0]
			if tt.both && !lagging {
				t.Fatal("a dead replica was promoted")
			}
			fromAll, fromOne := lost(byAll), lost(byOne)
			t.Logf("confirmed by 2 of 2: %d of %d lost; by 1 of 2: %d of %d lost; promoted: the one that had not confirmed: %t",
				fromAll, rounds, fromOne, rounds, lagging)
			if fromAll != 0 {
				t.Errorf("%d of %d locks that all replicas had confirmed were lost", fromAll, rounds)
			}
			if want := map[bool]int{true: rounds, false: 0}[lagging]; fromOne != want {
				t.Errorf("%d of %d locks that one replica had confirmed were lost, want %d", fromOne, rounds, want)
			}
			// The new primary knows the locks that all replicas confirmed.
			probe := newLocker(t, client, lock.Options{})
			rig.Eventually(t, 30*time.Second, "the new primary answers the first holders", func() bool {
				held, err := probe.TryAcquire(t.Context(), "probe")
				if err == nil {
					mustRelease(t, held)
				}
				return err == nil
			})
			for _, held := range byAll {
				mustRelease(t, held)
			}
			for _, held := range byOne {
				if err := held.Release(t.Context()); lagging != errors.Is(err, lock.ErrLost) {
					t.Errorf("release of a lock that one had confirmed: %v", err)
				}
			}
		})
	}
}

// TestK1_AnOldPrimaryThatStillRuns: a holder that is cut off together with the old primary renews
// there, confirmed or not, as long as that primary accepts writes. The server's
// min-replicas-to-write ends this.
func TestK1_AnOldPrimaryThatStillRuns(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	old := rig.Standalone(t)
	link := rig.NewProxy(t, old.Addr())
	other := rig.Replica(t, link.Addr())
	namespace := rig.Prefix(t)
	const ttl = 3 * time.Second
	ours := newLocker(t, open(t, old.URL(), namespace, patient), lock.Options{TTL: ttl, MinReplicas: 1})
	theirs := newLocker(t, open(t, other.URL(), namespace, patient), lock.Options{TTL: ttl, Wait: lock.WaitForever})
	held := mustAcquire(t, ours, "n")
	lost := make(chan time.Time, 1)
	context.AfterFunc(held.Context(), func() { lost <- time.Now() })
	link.Stall()
	if got := other.CLI("REPLICAOF", "NO", "ONE"); got != "OK" {
		t.Fatal(got)
	}
	next := mustAcquire(t, theirs, "n") // after the replicated lease has ended there
	granted, renewals := time.Now(), ours.Stats().Renewals
	rig.Eventually(t, 20*time.Second, "the first holder is renewed by the old primary",
		func() bool { return ours.Stats().Renewals >= renewals+2 })
	if held.Context().Err() != nil || next.Context().Err() != nil {
		t.Fatalf("two holders, each with its primary: %v, %v", context.Cause(held.Context()), context.Cause(next.Context()))
	}
	if next.Token() <= held.Token() {
		t.Errorf("token %d after %d", next.Token(), held.Token())
	}
	t.Logf("two holders for %v and no end", time.Since(granted).Round(time.Millisecond))

	for _, setting := range [][2]string{{"min-replicas-max-lag", "1"}, {"min-replicas-to-write", "1"}} {
		if got := old.CLI("CONFIG", "SET", setting[0], setting[1]); got != "OK" {
			t.Fatal(got)
		}
	}
	set := time.Now()
	select {
	case at := <-lost:
		t.Logf("lost %v after the old primary was set to refuse writes that no replica follows",
			at.Sub(set).Round(time.Millisecond))
	case <-time.After(30 * time.Second):
		t.Fatal("the old primary refuses writes, and the first holder keeps the lock")
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, lock.ErrLost) || next.Context().Err() != nil {
		t.Errorf("the first holder: %v, the second: %v", cause, context.Cause(next.Context()))
	}
}

// failover is a primary with two replicas whose links can be stalled, watched by sentinels.
type failover struct {
	*rig.Sentinel
	t         *testing.T
	namespace string
	old, next *rig.Server
	replicas  []*rig.Server
	links     []*rig.Proxy
}

func newFailover(t *testing.T) *failover {
	t.Helper()
	s := &failover{Sentinel: rig.NewSentinel(t), t: t, namespace: rig.Prefix(t)}
	s.old = s.Primary()
	// The sentinels correct a replica that names another primary, as a replica behind a proxy does,
	// after this time.
	s.timeout("60000")
	for _, r := range s.Servers() {
		if r == s.old {
			continue
		}
		link := rig.NewProxy(t, s.old.Addr())
		if got := r.CLI("REPLICAOF", "127.0.0.1", link.Addr()[strings.LastIndexByte(link.Addr(), ':')+1:]); got != "OK" {
			t.Fatal(got)
		}
		s.replicas, s.links = append(s.replicas, r), append(s.links, link)
	}
	rig.Eventually(t, 30*time.Second, "the replicas have caught up through their proxies", func() bool {
		for i, r := range s.replicas {
			if s.links[i].Open() == 0 || r.Info("master_link_status") != "up" ||
				r.Info("slave_repl_offset") != s.old.Info("master_repl_offset") {
				return false
			}
		}
		return true
	})
	return s
}

func (s *failover) timeout(ms string) {
	s.t.Helper()
	for _, sentinel := range s.Sentinels() {
		if got := sentinel.CLI("SENTINEL", "SET", rig.MasterName, "failover-timeout", ms); got != "OK" {
			s.t.Fatal(got)
		}
	}
}

// failover kills the primary. It returns a Locker of the new primary at the moment of the
// promotion, before the sentinels announce it.
func (s *failover) failover() (newPrimary *lock.Locker) {
	s.t.Helper()
	s.timeout("2000")
	s.old.Kill()
	rig.Eventually(s.t, 60*time.Second, "a replica is promoted", func() bool {
		for _, r := range s.replicas {
			if r.PID() == 0 {
				continue
			}
			reply, err := r.Do("ROLE") // a promotion closes all connections
			if role, ok := reply.([]any); err == nil && ok && len(role) > 0 && role[0] == "master" {
				s.next = r
			}
		}
		return s.next != nil
	})
	return newLocker(s.t, open(s.t, s.next.URL(), s.namespace, patient), lock.Options{})
}
