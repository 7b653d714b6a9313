package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// crowd is a server with keys of a cache and with locks.
type crowd struct {
	server *rig.Server
	in     *inspect.Inspector
}

// newCrowd fills a server. All locks have the state of one real lock.
func newCrowd(t *testing.T, keys, locks int) crowd {
	t.Helper()
	c := crowd{server: rig.Standalone(t)}
	client := open(t, c.server.URL(), "app")
	held, err := newLocker(t, client, lock.Options{TTL: time.Hour}).TryAcquire(t.Context(), "first")
	must(t, err)
	t.Cleanup(func() { must(t, held.Release(context.WithoutCancel(t.Context()))) })
	first := ""
	for key := range strings.SplitSeq(c.server.CLI("KEYS", "*{first}*"), "\n") {
		if strings.HasSuffix(key, "{first}") {
			first = key
		}
	}
	if first == "" {
		t.Fatal("the lock has no key that ends with its name")
	}

	for at := 0; at < locks; at += 1000 {
		c.server.CLI("EVAL", `for i = ARGV[2], ARGV[3] do redis.call('COPY', KEYS[1], ARGV[1] .. '{job:' .. i .. '}') end`, "1",
			first, strings.TrimSuffix(first, "{first}"), fmt.Sprint(at), fmt.Sprint(min(at+1000, locks)-1))
	}
	for at := 0; at < keys; at += 10_000 {
		c.server.CLI("EVAL", `for i = ARGV[1], ARGV[2] do redis.call('SET', 'app:cache:users:{' .. i .. '}', 'x') end`, "0",
			fmt.Sprint(at), fmt.Sprint(min(at+10_000, keys)-1))
	}
	c.in, err = inspect.New(client, inspect.Options{ReadOnly: true})
	must(t, err)
	return c
}

// commands returns how many commands a call sends, without those that find the size and the state
// of the server.
func (c crowd) commands(t *testing.T, call func(in *inspect.Inspector) error) (n int64) {
	t.Helper()
	must(t, call(c.in)) // the server gets the scripts
	sum := func() (all int64) {
		for name, calls := range c.server.CommandStats() {
			if name != "info" && name != "ping" {
				all += calls
			}
		}
		return all
	}
	before := sum()
	must(t, call(c.in))
	return sum() - before
}

// With a million keys and 10,000 locks, a call for one object sends as many commands as with a few
// keys, and one page of a list ends with its budget.
func TestCallsKeepTheirBudgetAmongAMillionKeys(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const locks = 10_000
	few, many := newCrowd(t, 1000, 10), newCrowd(t, 1_000_000, locks)

	for name, call := range map[string]func(in *inspect.Inspector) error{
		"Locks.Show": func(in *inspect.Inspector) error {
			l, err := in.Locks().Show(t.Context(), inspect.LockID{Name: "job:7"})
			if err == nil && l.Held != 1 {
				err = fmt.Errorf("the lock is not held: %+v", l)
			}
			return err
		},
		"Caches.Explain": func(in *inspect.Inspector) error {
			_, err := in.Caches().Explain(t.Context(), "users", "7")
			return err
		},
		"Idempotency.Show": func(in *inspect.Inspector) error {
			_, err := in.Idempotency().Show(t.Context(), inspect.IdempotencyID{Executor: "orders", Key: "7"})
			if errors.Is(err, inspect.ErrNotFound) {
				return nil
			}
			return err
		},
		"Limits.Show": func(in *inspect.Inspector) error { _, err := in.Limits().Show(t.Context(), "api", "7"); return err },
		"Sessions.OfUser": func(in *inspect.Inspector) error {
			_, err := in.Sessions().OfUser(t.Context(), "web", "7", inspect.Page{})
			return err
		},
	} {
		if a, b := few.commands(t, call), many.commands(t, call); a == 0 || a != b {
			t.Errorf("%s sends %d commands among 1,000 keys and %d among a million", name, a, b)
		}
	}

	const steps, perItem = 3*inspect.MaxScanned/inspect.ScanStep + 100, 20
	for name, list := range map[string]func(in *inspect.Inspector) (scanned, items int, err error){
		"Caches.List": func(in *inspect.Inspector) (int, int, error) {
			l, err := in.Caches().List(t.Context(), inspect.Page{})
			return l.Scanned, len(l.Items), err
		},
		"Locks.List": func(in *inspect.Inspector) (int, int, error) {
			l, err := in.Locks().List(t.Context(), inspect.Page{})
			return l.Scanned, len(l.Items), err
		},
		"Limits.List": func(in *inspect.Inspector) (int, int, error) {
			l, err := in.Limits().List(t.Context(), inspect.Page{})
			return l.Scanned, len(l.Items), err
		},
		"Limits.Keys": func(in *inspect.Inspector) (int, int, error) {
			l, err := in.Limits().Keys(t.Context(), "api", inspect.Page{})
			return l.Scanned, len(l.Items), err
		},
		"Sessions.Managers": func(in *inspect.Inspector) (int, int, error) {
			l, err := in.Sessions().Managers(t.Context(), inspect.Page{})
			return l.Scanned, len(l.Items), err
		},
		"Sessions.Count": func(in *inspect.Inspector) (int, int, error) {
			n, err := in.Sessions().Count(t.Context(), "web", inspect.Page{})
			return n.Scanned, 0, err
		},
		"Events.Buses": func(in *inspect.Inspector) (int, int, error) {
			l, err := in.Events().Buses(t.Context(), inspect.Page{})
			return l.Scanned, len(l.Items), err
		},
	} {
		scanned, items := 0, 0
		sent := many.commands(t, func(in *inspect.Inspector) (err error) { scanned, items, err = list(in); return err })
		most := int64(steps + perItem*items)
		if sent > most || scanned == 0 || scanned >= inspect.MaxScanned+inspect.ScanStep {
			t.Errorf("%s sends %d commands and examines %d keys for one page, want at most %d and about %d", name, sent, scanned,
				most, inspect.MaxScanned)
		}
		t.Logf("%s: %d commands, %d keys, %d items", name, sent, scanned, items)
	}
	manyLocks(t, many.in, locks)
}

// manyLocks reads all locks in pages: each is found, and no page examines more than its budget.
func manyLocks(t *testing.T, in *inspect.Inspector, want int) {
	t.Helper()
	names, calls := map[string]bool{}, 0
	for page := (inspect.Page{Limit: 500}); ; calls++ {
		list, err := in.Locks().List(t.Context(), page)
		must(t, err)
		if list.Scanned >= inspect.MaxScanned+inspect.ScanStep || len(list.Items) > page.Limit+inspect.ScanStep {
			t.Fatalf("a page examined %d keys and has %d locks", list.Scanned, len(list.Items))
		}
		for _, l := range list.Items {
			names[l.Name] = true
		}
		if page.Cursor = list.Next; page.Cursor == "" {
			break
		}
		if calls > 10*want/page.Limit {
			t.Fatalf("%d pages have %d locks, and the list goes on", calls, len(names))
		}
	}
	if len(names) != want+1 {
		t.Errorf("the pages have %d locks, want %d", len(names), want+1)
	}
	t.Logf("%d locks in %d pages", len(names), calls)
}
