package core_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// A caller leaves before the reply to its read of a long value. The reply still teaches the client
// that the value is long. Otherwise many callers that leave early would keep the shared connection
// full of replies that no caller takes.
func TestAReadWhoseCallerHasLeftLearnsTheSize(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(time.Minute))
	for key, size := range map[string]int{"long": 1 << 20, "short": 10} {
		if _, err := c.Do(t.Context(), core.Write("SET", key, strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop()
	for _, key := range []string{"long", "short"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := c.Do(ctx, core.Read("GET", key)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("GET %s on a stopped server: %v", key, err)
		}
		cancel()
	}
	server.Continue()
	rig.Eventually(t, 10*time.Second, "the size of the long value is known", func() bool { return core.KnownLong(c, "long") })

	// the same in a pipeline
	if _, err := c.Do(t.Context(), core.Write("SET", "long2", strings.Repeat("x", 1<<20))); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, r := range c.DoMulti(ctx, core.Read("GET", "short"), core.Read("GET", "long2"), core.Read("GET", "short2")) {
		if _, err := r.Get(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a pipeline on a stopped server: %v", err)
		}
	}
	server.Continue()
	rig.Eventually(t, 10*time.Second, "the size in the pipeline is known", func() bool { return core.KnownLong(c, "long2") })
	if err := get(t.Context(), c, "short"); err != nil { // its reply comes after those of the earlier reads
		t.Fatal(err)
	}
	if core.KnownLong(c, "short") || core.KnownLong(c, "short2") {
		t.Error("a short value is taken for a long one")
	}
}

// 400 callers read short and long values, and some leave early. In the meantime the server
// stops, is full, loses its connections, is emptied and is killed. No answer is wrong. Afterwards
// all connections for long replies are free again, and a long and a short read succeed.
func TestThePoolSurvivesManyCallersAndFaults(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(500*time.Millisecond))
	long, short := strings.Repeat("x", 128<<10), "0123456789"
	store := func() {
		t.Helper()
		rig.Eventually(t, 20*time.Second, "the values are stored", func() bool {
			_, err := c.Do(t.Context(), core.Write("SET", "long", long))
			if err == nil {
				_, err = c.Do(t.Context(), core.Write("SET", "short", short))
			}
			return err == nil
		})
	}
	store()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var right, failed atomic.Int64
	var callers sync.WaitGroup
	for i := range 400 {
		key, want := "short", short
		if i%4 == 0 {
			key, want = "long", long
		}
		callers.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				call, end := context.WithTimeout(ctx, time.Duration(1+n%700)*time.Millisecond)
				reply, err := c.Do(call, core.Read("GET", key))
				end()
				switch text, wrong := reply.ToString(); {
				case err != nil:
					failed.Add(1)
					if !errors.Is(err, fault.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) &&
						!errors.Is(err, context.Canceled) {
						t.Errorf("GET %s: %v", key, err)
					}
				case reply.IsNil(): // the server was emptied
				case wrong != nil || text != want:
					t.Errorf("GET %s returned %d bytes, %v", key, len(text), wrong)
				default:
					right.Add(1)
				}
			}
		})
	}
	answers := func(during string) {
		t.Helper()
		before := right.Load()
		rig.Eventually(t, time.Minute, "answers after "+during, func() bool { return right.Load() > before+400 })
	}
	answers("the start")
	server.Stop()
	sofar := failed.Load()
	rig.Eventually(t, 20*time.Second, "failures while the server stands still", func() bool { return failed.Load() > sofar+400 })
	server.Continue()
	answers("a stop")
	server.CLI("CONFIG", "SET", "maxmemory", "1mb")
	answers("a full server")
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	server.CLI("CLIENT", "KILL", "TYPE", "normal")
	answers("cut connections")
	server.CLI("FLUSHALL")
	store()
	answers("FLUSHALL")
	server.Kill()
	server.Restart()
	store()
	answers("a restart")
	stop()
	callers.Wait()

	rig.Eventually(t, 20*time.Second, "all connections for long replies are free", func() bool {
		return core.LongReads(c) == 0 && core.WaitingForLong(c) == 0
	})
	for key, want := range map[string]string{"long": long, "short": short} {
		rig.Eventually(t, 20*time.Second, "a read of "+key, func() bool {
			reply, err := c.Do(t.Context(), core.Read("GET", key))
			text, _ := reply.ToString()
			return err == nil && text == want
		})
	}
	t.Logf("%d right answers, %d failures", right.Load(), failed.Load())
}
