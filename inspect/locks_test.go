package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

func newLocker(t testing.TB, client *redstart.Client, opts lock.Options) *lock.Locker {
	t.Helper()
	l, err := lock.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// waitFor starts a waiter and returns when it is in the queue. The channel has its lock.
func waitFor(t testing.TB, l *lock.Locker, acquire func(context.Context) (*lock.Lock, error)) <-chan *lock.Lock {
	t.Helper()
	before := l.Stats().Waiting
	got := make(chan *lock.Lock, 1)
	go func() {
		held, err := acquire(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- held
	}()
	rig.Eventually(t, 5*time.Second, "the waiter waits", func() bool { return l.Stats().Waiting > before })
	return got
}

// Show has the holder and the queue of each kind of lock, under any name. Break hands the lock on.
func TestLockShowsHolderAndQueue(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		in := newInspector(t, open(t, e.URL, e.Namespace))
		names := map[inspect.LockKind]string{inspect.Mutex: "invoice:42", inspect.Semaphore: "<b>\x1b[2J{x}\x00", inspect.ReadWrite: ""}
		for kind, name := range names {
			for _, group := range []string{"", "g{1}:s"} {
				id := inspect.LockID{Name: name, Kind: kind, Group: group}
				t.Run(string(kind)+group, func(t *testing.T) { testLock(t, in, client, id) })
			}
		}
	})
}

// acquirer returns how to acquire a lock of any kind.
func acquirer(t *testing.T, l *lock.Locker, id inspect.LockID) func(context.Context) (*lock.Lock, error) {
	t.Helper()
	switch id.Kind {
	case inspect.Semaphore:
		r, err := l.Semaphore(id.Name, 2)
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context) (*lock.Lock, error) { return r.Acquire(ctx, lock.Permits(2)) }
	case inspect.ReadWrite:
		r, err := l.Writer(id.Name)
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context) (*lock.Lock, error) { return r.Acquire(ctx) }
	}
	return func(ctx context.Context) (*lock.Lock, error) { return l.Acquire(ctx, id.Name) }
}

func testLock(t *testing.T, in *inspect.Inspector, client *redstart.Client, id inspect.LockID) {
	holder := newLocker(t, client, lock.Options{Process: "holder:1", Group: id.Group, TTL: time.Minute})
	waiter := newLocker(t, client, lock.Options{Process: "waiter:2", Group: id.Group, Wait: lock.WaitForever})
	held, err := acquirer(t, holder, id)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := waitFor(t, waiter, acquirer(t, waiter, id))

	shown, err := in.Locks().Show(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if shown.LockID != id || shown.Held != 1 || shown.Waiting != 1 || len(shown.Holders) != 1 || len(shown.Waiters) != 1 {
		t.Fatalf("shown %+v", shown)
	}
	h, w := shown.Holders[0], shown.Waiters[0]
	if h.Process != "holder:1" || h.Token != held.Token() || h.Remaining <= 0 || h.Remaining > inspect.Duration(time.Minute) {
		t.Errorf("the holder is %+v, its token %d", h, held.Token())
	}
	if w.Process != "waiter:2" || w.Waited < 0 || w.Waited > inspect.Duration(time.Minute) {
		t.Errorf("the waiter is %+v", w)
	}
	if id.Kind == inspect.Semaphore && h.Permits != 2 || id.Kind == inspect.ReadWrite && h.Side != "writer" {
		t.Errorf("the holder is %+v", h)
	}
	if listed := findLock(t, in, id); listed.Held != 1 || listed.Waiting != 1 {
		t.Errorf("listed as %+v", listed)
	}

	if _, err := in.Locks().Break(t.Context(), id, w.ID); !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("a waiter was broken: %v", err)
	}
	if n, err := in.Locks().Break(t.Context(), id, h.ID); n != 1 || err != nil {
		t.Fatalf("Break ended %d: %v", n, err)
	}
	select {
	case got := <-next:
		if got.Token() <= held.Token() {
			t.Errorf("token %d after %d", got.Token(), held.Token())
		}
		if err := got.Release(t.Context()); err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the waiter did not get the lock")
	}
	if err := held.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("the release of a broken lock: %v", err)
	}
	if n, err := in.Locks().Break(t.Context(), id, ""); n != 0 || !errors.Is(err, inspect.ErrNotFound) {
		t.Errorf("Break of a free lock ended %d: %v", n, err)
	}
}

// findLock returns the entry of a lock in the list.
func findLock(t *testing.T, in *inspect.Inspector, id inspect.LockID) (found inspect.Lock) {
	t.Helper()
	if strings.HasPrefix(t.Name(), "TestLockShowsHolderAndQueue/acl/") {
		found, err := in.Locks().Show(t.Context(), id) // this user has no SCAN
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for p := (inspect.Page{}); ; {
		list, err := in.Locks().List(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list.Items {
			if one.LockID == id {
				return one
			}
		}
		if p.Cursor = list.Next; p.Cursor == "" {
			t.Fatalf("%+v is not in the list", id)
		}
	}
}

// Values that are no locks are listed with the reason, and break nothing. Free locks and other keys
// of the namespace are not listed.
func TestLockListShowsForeignValues(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name == "acl" {
			return // no SCAN
		}
		client := open(t, e.URL, e.Namespace)
		c, in := clientcore.Of(client), newInspector(t, client)
		long := strings.Repeat("<script>", 1<<17)
		for key, value := range map[string]string{"lock:{version}": "9 a state of another release", "lock:{half}": "1 5",
			"lock:{x}:zz": "no lock", "lock:{%zz}": "no key of ours", "lock:{" + long + "}": "1 MiB", "limit:l:{k}": "2"} {
			if _, err := c.Do(t.Context(), core.Write("SET", e.Namespace+":"+key, value)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Do(t.Context(), core.Write("RPUSH", e.Namespace+":lock:{list}", "a")); err != nil {
			t.Fatal(err)
		}
		l := newLocker(t, client, lock.Options{})
		if err := l.Do(t.Context(), "free", func(context.Context, *lock.Lock) error { return nil }); err != nil {
			t.Fatal(err)
		}

		got := map[string]string{}
		for p := (inspect.Page{}); ; {
			list, err := in.Locks().List(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range list.Items {
				got[fmt.Sprintf("%.10s", one.Name)] = one.Problem
			}
			if p.Cursor = list.Next; p.Cursor == "" {
				break
			}
		}
		for _, name := range []string{"version", "half", "list", "<script><s"} {
			if got[name] == "" || len(got[name]) > 2048 {
				t.Errorf("%s has the problem %.100q", name, got[name])
			}
			delete(got, name)
		}
		if len(got) > 0 {
			t.Errorf("also listed: %v", got)
		}
		if shown, err := in.Locks().Show(t.Context(), inspect.LockID{Name: "version"}); err != nil || shown.Problem == "" {
			t.Errorf("shown as %+v: %v", shown, err)
		}
		if _, err := in.Locks().Break(t.Context(), inspect.LockID{Name: "list"}, ""); !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("Break of a list: %v", err)
		}
	})
}

func TestLockKindIsChecked(t *testing.T) {
	t.Parallel()
	in := newInspector(t, open(t, rig.Embedded(t).URL(), "app"))
	for want, id := range map[string]inspect.LockID{
		"not a kind of lock": {Name: "a", Kind: "mutexes"},
		"too large":          {Name: strings.Repeat("n", 2000)},
	} {
		if _, err := in.Locks().Show(t.Context(), id); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 400 {
			t.Errorf("%.20s: %v", id.Name, err)
		}
	}
}
