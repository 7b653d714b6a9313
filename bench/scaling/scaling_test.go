package scaling_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("process", role(runProcess))
	rig.RegisterRole("writer", role(runWriter))
	rig.Main(m)
}

const (
	document = "../../docs/scaling.md"
	things   = 10_000
	parallel = 32
)

// thing is one row: an object that is created, and an operation on it.
type thing struct {
	name string
	make func(ctx context.Context, i int) error
	do   string // the operation whose commands are counted
	op   func(ctx context.Context, i int) error

	trips string // round trips of the operation
}

// TestScaling measures the costs in docs/scaling.md on its own server. With REDSTART_UPDATE=1 it
// writes the table. Otherwise it compares the table with the measurement; a deviation of a fifth is
// allowed.
func TestScaling(t *testing.T) {
	server := rig.Standalone(t)
	client := rigclient.Open(t, server.URL(), "")
	all := thingsOn(t, client)

	var table strings.Builder
	table.WriteString("| what | memory, bytes | keys | operation | round trips | commands |\n|---|---|---|---|---|---|\n")
	for _, th := range all {
		if got := server.CLI("FLUSHALL"); got != "OK" {
			t.Fatal(got)
		}
		memory, keys := number(t, server.Info("used_memory")), number(t, server.CLI("DBSIZE"))
		each(t, things, th.make)
		memory, keys = (number(t, server.Info("used_memory"))-memory)/things, number(t, server.CLI("DBSIZE"))-keys
		each(t, 100, th.op) // work that is done once per connection or script
		before := server.CommandStats()
		for i := range 1000 { // one after the other, because concurrent calls may be batched
			if err := th.op(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		var commands int64
		for name, n := range server.CommandStats() {
			switch name {
			case "info", "ping", "dbsize", "evalsha": // of the test, and of scripts, whose commands are counted
			default:
				commands += n - before[name]
			}
		}
		fmt.Fprintf(&table, "| %s | %d | %.2g | %s | %s | %.1f |\n", th.name, memory, float64(keys)/things,
			th.do, th.trips, float64(commands)/1000)
	}
	t.Logf("\n%s", table.String())
	compare(t, "costs", table.String(), 1.2, 2, 6)
}

func thingsOn(t *testing.T, client *redstart.Client) []thing {
	t.Helper()
	users, err := cache.New[[]byte](client, "users",
		cache.Options{TTL: time.Hour, Codec: codec.Raw, CompressAbove: cache.NoCompression})
	if err != nil {
		t.Fatal(err)
	}
	value := []byte(strings.Repeat("x", 256))
	locker, err := lock.New(client, lock.Options{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	held := make([]*lock.Lock, things)
	sessions, err := session.New[account](client, "bench", session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, things)
	bus, err := events.NewDurable(client, "shop", events.DurableOptions{Partitions: 16})
	if err != nil {
		t.Fatal(err)
	}
	changed := events.NewTopic[account]("user_changed")

	user := func(i int) string { return fmt.Sprint("user:", 100_000+i) }
	all := []thing{
		{"cache: a value of 256 bytes", func(ctx context.Context, i int) error { return users.Set(ctx, user(i), value) },
			"read it", func(ctx context.Context, i int) error { _, err := users.Get(ctx, user(i)); return err }, "1"},
		{"cache: the same", func(ctx context.Context, i int) error { return users.Set(ctx, user(i), value) },
			"miss, load and store", func(ctx context.Context, i int) error {
				_, err := users.GetOrLoad(ctx, "cold:"+strconv.FormatInt(time.Now().UnixNano(), 36)+user(i),
					func(context.Context, string) ([]byte, error) { return value, nil })
				return err
			}, "3"},
		{"lock: a lock that is held", func(ctx context.Context, i int) (err error) {
			held[i], err = locker.TryAcquire(ctx, user(i))
			return err
		},
			"acquire and release", func(ctx context.Context, i int) error {
				l, err := locker.TryAcquire(ctx, "other:"+user(i))
				if err != nil {
					return err
				}
				return l.Release(ctx)
			}, "2"},
		{"session: of one user, 60 bytes of data", func(ctx context.Context, i int) error {
			s, err := sessions.Create(ctx, user(i), account{"Ada Lovelace", "dark"})
			if err == nil {
				tokens[i] = s.Token()
			}
			return err
		}, "load it", func(ctx context.Context, i int) error { _, err := sessions.Load(ctx, tokens[i]); return err }, "1"},
		{"events: an event of 60 bytes of data", func(ctx context.Context, i int) error {
			return changed.Publish(ctx, bus, "users:"+strconv.Itoa(i), account{"Ada Lovelace", "dark"})
		}, "publish it", func(ctx context.Context, i int) error {
			return changed.Publish(ctx, bus, "users:"+strconv.Itoa(i), account{"Ada Lovelace", "dark"})
		}, "1"},
	}
	for _, algorithm := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingWindow,
		ratelimit.FixedWindow, ratelimit.SlidingLog} {
		limiter, err := ratelimit.New(client, "api",
			ratelimit.Options{Algorithm: algorithm, Rules: []ratelimit.Rule{ratelimit.PerHour(100)}})
		if err != nil {
			t.Fatal(err)
		}
		trips := "1"
		if algorithm == ratelimit.GCRA {
			trips = "at most 1: who charges at the same time shares"
		}
		allow := func(ctx context.Context, i int) error { _, err := limiter.Allow(ctx, user(i)); return err }
		all = append(all, thing{fmt.Sprintf("ratelimit: %v, one rule", algorithm), allow, "allow", allow, trips})
	}
	return all
}

// account is a small session or event.
type account struct{ Name, Theme string }

// each calls fn n times, several at a time.
func each(t *testing.T, n int, fn func(ctx context.Context, i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for part := range parallel {
		wg.Go(func() {
			for i := part; i < n; i += parallel {
				if err := fn(t.Context(), i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
