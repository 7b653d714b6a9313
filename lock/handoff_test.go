package lock_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// A waiter holds a lock as soon as it receives the message of the hand-off. These tests force
// events between the release and that moment.

// passing is one lock. The holder and others use the server directly; the waiter uses a proxy.
type passing struct {
	t      *testing.T
	server *rig.Server
	proxy  *rig.Proxy
	held   *lock.Lock   // the lock, to be released
	waiter *lock.Locker // first in the queue
	others *lock.Locker
	cancel context.CancelFunc // cancels the waiter
	got    chan outcome
}

type outcome struct {
	held *lock.Lock
	err  error
}

func newPassing(t *testing.T, opts lock.Options) *passing {
	t.Helper()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	opts.Wait = lock.WaitForever
	p := &passing{t: t, server: server, proxy: proxy, got: make(chan outcome, 1)}
	p.waiter = newLocker(t, open(t, proxy.URL(), "app"), opts)
	p.others = newLocker(t, open(t, server.URL(), "app", patient), opts)
	p.confirmAfter(time.Hour)
	p.held = mustTry(t, p.others, "n")
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	p.cancel = cancel
	go func() {
		held, err := p.waiter.Acquire(ctx, "n")
		p.got <- outcome{held, err}
	}()
	p.queue(1)
	rig.Eventually(t, 10*time.Second, "the waiter listens",
		func() bool { return server.CLI("PUBSUB", "SHARDCHANNELS", "*") != "" })
	return p
}

// confirmAfter sets when the waiter confirms the hand-off.
func (p *passing) confirmAfter(d time.Duration) {
	p.t.Cleanup(lock.Points(p.waiter).Arm("confirm", failpoint.Lasts(d)))
}

// queue waits until n waiters are in the queue.
func (p *passing) queue(n int) {
	p.t.Helper()
	rig.Eventually(p.t, 10*time.Second, fmt.Sprint(n, " wait"),
		func() bool { return p.server.CLI("ZCARD", "app:lock:{n}:q") == strconv.Itoa(n) })
}

// after starts another caller that waits behind the waiter.
func (p *passing) after() chan *lock.Lock {
	p.t.Helper()
	next := make(chan *lock.Lock, 1)
	go func() {
		if held, err := p.others.Acquire(p.t.Context(), "n"); err == nil {
			next <- held
		}
	}()
	p.queue(2)
	return next
}

// owner returns the owner of the lock on the server.
func (p *passing) owner() string {
	if f := strings.Fields(p.server.CLI("GET", "app:lock:{n}")); len(f) == 6 {
		return f[5]
	}
	return ""
}

// lostAt returns the moment at which a lock's context ends.
func lostAt(held *lock.Lock) <-chan time.Time {
	at := make(chan time.Time, 1)
	context.AfterFunc(held.Context(), func() { at <- time.Now() })
	return at
}

// TestHandoffNeedsNoRequest: from a release to the release of the next holder, the server receives
// only these two releases, each as one script. The first holder does not know that another caller
// waits.
func TestHandoffNeedsNoRequest(t *testing.T) {
	t.Parallel()
	p := newPassing(t, lock.Options{})
	rig.Eventually(t, 10*time.Second, "a message alone is enough", func() bool {
		before := p.server.CommandStats()["evalsha"]
		mustRelease(t, p.held)
		next := soon(t, "the waiter has the lock", p.got)
		if next.err != nil {
			t.Fatal(next.err)
		}
		mustRelease(t, next.held)
		if p.server.CommandStats()["evalsha"]-before == 2 {
			return true
		}
		p.held = mustTry(t, p.others, "n") // a heartbeat came in between: try again
		go func() {
			held, err := p.waiter.Acquire(context.Background(), "n")
			p.got <- outcome{held, err}
		}()
		p.queue(1)
		return false
	})
}

// TestK3_UnconfirmedHandoffEndsInTime: a holder that received the lock by message and cannot reach
// the server loses the lock before the grant can end there, by the margin.
func TestK3_UnconfirmedHandoffEndsInTime(t *testing.T) {
	t.Parallel()
	const margin = 500 * time.Millisecond
	p := newPassing(t, lock.Options{TTL: 2 * time.Second, Margin: margin})
	next := p.after()
	mustRelease(t, p.held)
	first := soon(t, "the waiter holds the lock after the message", p.got)
	if first.err != nil {
		t.Fatal(first.err)
	}
	p.proxy.StallRequests()
	end := lostAt(first.held)
	second := soon(t, "the grant lapses, and the next has the lock", next)
	granted := time.Now()
	at := soon(t, "the context of the first holder ends", end)
	if !errors.Is(context.Cause(first.held.Context()), lock.ErrLost) {
		t.Fatalf("the first holder's context ended with %v", context.Cause(first.held.Context()))
	}
	t.Logf("lost %v before the next grant", granted.Sub(at))
	if granted.Sub(at) <= 0 || second.Token() <= first.held.Token() {
		t.Fatalf("lost %v before the next grant; token %d after %d", granted.Sub(at), second.Token(), first.held.Token())
	}
	mustRelease(t, second)
	p.proxy.Resume()
}

// TestK1_MessageLate: the message arrives after its grant has ended and another caller has the
// lock. The waiter continues to wait.
func TestK1_MessageLate(t *testing.T) {
	t.Parallel()
	p := newPassing(t, lock.Options{TTL: 2 * time.Second}) // the grant is 1.4 s
	next := p.after()
	p.proxy.Stall() // stalls heartbeats, answers and the message
	mustRelease(t, p.held)
	second := soon(t, "the grant lapses, and the next has the lock", next)
	p.proxy.Resume()
	p.queue(1) // the waiter asked, and is in the queue again
	select {
	case got := <-p.got:
		t.Fatalf("the first waiter returned with a grant that was over: %+v, another holds %d", got, second.Token())
	default:
	}
	if second.Context().Err() != nil {
		t.Fatal(context.Cause(second.Context()))
	}
	mustRelease(t, second)
	first := soon(t, "its turn comes", p.got)
	if first.err != nil || first.held.Token() <= second.Token() {
		t.Fatalf("%+v after %d", first, second.Token())
	}
}

// TestK4_WaiterLeavesBeforeTheMessage: the lock is handed to a waiter that leaves before the
// message arrives. The lock is handed to the next waiter.
func TestK4_WaiterLeavesBeforeTheMessage(t *testing.T) {
	t.Parallel()
	p := newPassing(t, lock.Options{TTL: 10 * time.Second}) // the grant is 3 s
	next := p.after()
	p.proxy.StallReplies()
	mustRelease(t, p.held)
	if owner := p.owner(); !strings.HasPrefix(owner, "m.") || p.server.CLI("ZCARD", "app:lock:{n}:q") != "1" {
		t.Fatalf("the release did not pass the lock on: %q", owner)
	}
	watch := rig.Watch(t)
	p.cancel()
	if first := soon(t, "the waiter leaves", p.got); !errors.Is(first.err, lock.ErrNotAcquired) {
		t.Fatalf("%+v", first)
	}
	second := soon(t, "the next has the lock", next)
	if took := watch.Took(); took > 2500*time.Millisecond {
		t.Errorf("what was passed to a waiter who left was lost for %v: its grant lapsed", took)
	}
	p.proxy.Resume()
	mustRelease(t, second)
	rig.Eventually(t, 10*time.Second, "nothing stays behind", func() bool { return p.owner() == "-" })
}

// TestK5_MessageLost: the connection of the notifications is cut during the hand-off.
func TestK5_MessageLost(t *testing.T) {
	t.Parallel()
	p := newPassing(t, lock.Options{TTL: 10 * time.Second})
	p.proxy.StallReplies()
	mustRelease(t, p.held)
	p.proxy.Cut() // and the message
	p.proxy.Resume()
	first := soon(t, "the waiter asks", p.got)
	if first.err != nil {
		t.Fatal(first.err)
	}
	mustRelease(t, first.held)
}

// TestK1_ServerGoneBeforeTheConfirmation: the server hands the lock over, is killed, and comes back
// empty. The holder notices at its first renewal. If the server does not come back, the holder
// notices by the clock. On a loaded machine, the server may come back after the end of the grant.
// So one of five holders must notice at its renewal.
func TestK1_ServerGoneBeforeTheConfirmation(t *testing.T) {
	t.Parallel()
	// lose returns how long after the end of the server the holder lost the lock, and the cause.
	lose := func(t *testing.T, restart bool) (time.Duration, error) {
		p := newPassing(t, lock.Options{TTL: 2 * time.Second})
		if restart {
			p.confirmAfter(200 * time.Millisecond)
		}
		mustRelease(t, p.held)
		first := soon(t, "the waiter has the lock", p.got)
		if first.err != nil {
			t.Fatal(first.err)
		}
		p.server.Kill()
		watch := rig.Watch(t)
		if restart {
			p.server.Restart()
		}
		soon(t, "the holder loses the lock", lostAt(first.held))
		took, cause := watch.Took(), context.Cause(first.held.Context())
		t.Logf("it ended after %v: %v", took, cause)
		if !errors.Is(cause, lock.ErrLost) {
			t.Fatalf("cause: %v", cause)
		}
		if err := first.held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("Release: %v", err)
		}
		return took, cause
	}

	t.Run("restart=true", func(t *testing.T) {
		t.Parallel()
		for range 5 {
			if _, cause := lose(t, true); strings.Contains(cause.Error(), "another owner or none") {
				return
			}
		}
		t.Error("the confirmation was never the cause")
	})
	t.Run("restart=false", func(t *testing.T) {
		t.Parallel()
		if took, _ := lose(t, false); took > 2500*time.Millisecond {
			t.Errorf("lost %v after the server was gone: the grant is shorter", took)
		}
	})
}

// TestForgedMessages: a user who may publish on the channel, and nothing else, gains little. A
// grant that the server does not have ends at its confirmation. A grant from before the last
// answer, or without a time, makes the waiter ask.
func TestForgedMessages(t *testing.T) {
	t.Parallel()
	p := newPassing(t, lock.Options{TTL: 10 * time.Second})
	p.confirmAfter(20 * time.Millisecond)
	id := strings.Fields(p.server.CLI("ZRANGE", "app:lock:{n}:q", "0", "0"))[0]
	entry := strings.SplitN(p.server.CLI("HGET", "app:lock:{n}:w", id), " ", 3)
	if len(entry) != 3 {
		t.Fatalf("a waiter's entry is %q", entry)
	}
	now := time.Now().UnixMicro()
	for _, message := range []string{
		"", id, id + " ", id + " x", id + " 5", id + " 5 x", id + " -5 5", id + " 5 -5", id +
			" 99999999999999999999 5", "other 5 5",
		fmt.Sprintf("%s 5 %d", id, now-time.Hour.Microseconds()), fmt.Sprintf("%s 5 %d", id, now+time.Hour.Microseconds()),
		fmt.Sprintf("%s 5 %d", id, int64(1)<<62), fmt.Sprintf("%s 5 %d", id, now), fmt.Sprintf("%s %d %d", id, now-1, now),
	} {
		asked := p.server.CommandStats()["evalsha"]
		if n := p.server.CLI("SPUBLISH", entry[2], message); n != "1" {
			t.Fatalf("%s hear %q", n, message)
		}
		if strings.HasPrefix(message, id) {
			rig.Eventually(t, 10*time.Second, "the waiter asks",
				func() bool { return p.server.CommandStats()["evalsha"] > asked })
		}
	}
	select {
	case got := <-p.got:
		t.Fatalf("a message that says nothing was believed: %+v", got)
	default:
	}
	rig.Eventually(t, 10*time.Second, "believed: it could be true", func() bool {
		now := time.Now().UnixMicro()
		p.server.CLI("SPUBLISH", entry[2], fmt.Sprintf("%s %d %d", id, now, now))
		return len(p.got) > 0
	})
	first := <-p.got
	if first.err != nil {
		t.Fatal(first.err)
	}
	soon(t, "the first renewal ends it", lostAt(first.held))
	if !errors.Is(context.Cause(first.held.Context()), lock.ErrLost) {
		t.Fatalf("cause: %v", context.Cause(first.held.Context()))
	}
	if p.held.Context().Err() != nil {
		t.Fatalf("the true holder lost it: %v", context.Cause(p.held.Context()))
	}
	mustRelease(t, p.held)
}
