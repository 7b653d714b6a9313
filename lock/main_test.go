package lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("contender", contender)
	rig.Main(m)
}

// open connects with the timeouts that a Locker has by default: many tests are about them.
func open(t testing.TB, url, namespace string, changes ...func(*redstart.Config)) *redstart.Client {
	t.Helper()
	return rigclient.Open(t, url, namespace, append([]func(*redstart.Config){rigclient.Within(redstart.DefaultCommandTimeout)}, changes...)...)
}

// patient is for tests that are not about time: they hold on a machine that has much else to do.
func patient(cfg *redstart.Config) { cfg.CommandTimeout = 5 * time.Second }

func newLocker(t testing.TB, client *redstart.Client, opts lock.Options) *lock.Locker {
	t.Helper()
	l, err := lock.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mustAcquire and mustTry end the test when they do not get the lock.
func mustAcquire(t testing.TB, l *lock.Locker, name string) *lock.Lock {
	t.Helper()
	held, err := l.Acquire(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func mustTry(t testing.TB, l *lock.Locker, name string) *lock.Lock {
	t.Helper()
	held, err := l.TryAcquire(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func mustRelease(t testing.TB, held *lock.Lock) {
	t.Helper()
	if err := held.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// soon returns what comes on a channel within ten seconds.
func soon[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10 s: %s", what)
	}
	panic("unreachable")
}
