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

// open connects with the default timeouts of a Locker, because many tests are about them.
func open(t testing.TB, url, namespace string, changes ...func(*redstart.Config)) *redstart.Client {
	t.Helper()
	return rigclient.Open(t, url, namespace,
		append([]func(*redstart.Config){rigclient.Within(500 * time.Millisecond)}, changes...)...)
}

// patient is for tests that are not about time. They pass on a loaded machine.
func patient(cfg *redstart.Config) { cfg.CommandTimeout = 5 * time.Second }

func newLocker(t testing.TB, client *redstart.Client, opts lock.Options) *lock.Locker {
	t.Helper()
	l, err := lock.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// mustAcquire and mustTry fail the test if they do not get the lock.
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

// soon returns the next value of a channel. Its limit only ends a test that hangs: a loaded machine
// may take several times as long as a quiet one.
func soon[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("not within a minute: %s", what)
	}
	panic("unreachable")
}
