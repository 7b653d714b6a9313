package core_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// A server stalls for 0.3 s while hundreds of calls wait, and their callers leave. An abandoned
// call is never sent after a newer one: an older Set never overwrites the value of a Set that
// succeeded.
func TestA3_AnAbandonedSetNeverOvertakesANewerOne(t *testing.T) {
	for _, burst := range []int{200, 600} {
		t.Run(strconv.Itoa(burst), func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			c := open(t, server.URL())
			set := func(ctx context.Context, key string, value int) error {
				_, err := c.Do(ctx, core.Write("SET", key, strconv.Itoa(value)))
				return err
			}
			for round := range 5 {
				key := fmt.Sprint("k", round)
				if err := set(t.Context(), key, -1); err != nil {
					t.Fatal(err)
				}
				server.Stop()
				var wg sync.WaitGroup
				for range 448 { // callers that stay
					wg.Go(func() { _ = get(t.Context(), c, "other") })
				}
				time.Sleep(5 * time.Millisecond)
				var left sync.WaitGroup
				for i := range burst { // callers that leave
					left.Go(func() {
						ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
						defer cancel()
						_ = set(ctx, key, i)
					})
				}
				left.Wait()
				newest := burst + 1
				done := make(chan error, 1)
				go func() { done <- set(t.Context(), key, newest) }()
				server.Continue()
				err := <-done
				// an error may stem from the end of the stall; the first success counts
				for err != nil {
					err = set(t.Context(), key, newest)
				}
				wg.Wait()
				if got := server.CLI("GET", key); got != strconv.Itoa(newest) {
					t.Fatalf("round %d: a Set of %d succeeded, and then an older Set of %s was executed", round, newest, got)
				}
			}
		})
	}
}

// The server stalls for longer than the connection lives. It must execute what the old connection
// left in its buffers before any command of the new one. On loopback, a server almost never breaks
// this order, so the test also counts the PINGs that prove it. The control is a connection that is
// lost without unanswered calls.
func TestA3_ALostConnectionIsDrainedBeforeTheNextIsUsed(t *testing.T) {
	t.Parallel()
	const old = 16
	filler := string(make([]byte, 64<<10))
	lose := func(t *testing.T, calls int) (pings int64) {
		t.Helper()
		server := rig.Standalone(t)
		c := open(t, server.URL())
		server.Stop()
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				// The deadline of the caller keeps the breaker closed. Its probe would send PINGs
				// too.
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if _, err := c.Do(ctx, core.Write("SET", "k", fmt.Sprint("old", i, filler))); err == nil {
					t.Error("a stopped server answered")
				}
			})
		}
		wg.Wait()
		rig.Eventually(t, 20*time.Second, "the silent connection was given up",
			func() bool { return core.Connections(c) == 0 })

		written := make(chan error, 1)
		go func() {
			_, err := c.Do(t.Context(), core.Write("SET", "k", "new"))
			written <- err
		}()
		rig.Eventually(t, 10*time.Second, "the next connection waits for the server",
			func() bool { return core.Connections(c) == 1 })
		server.Continue()
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		pings = server.CommandStats()["ping"]
		for range 20 {
			if got := server.CLI("GET", "k"); got != "new" {
				t.Fatalf("an older write was executed after a newer one had succeeded: %.10q", got)
			}
			time.Sleep(5 * time.Millisecond)
		}
		return pings
	}
	few, many := lose(t, 0), lose(t, old)
	// not all of them fit into the buffers of every machine
	if chunks := int64(old * len(filler) / (16 << 10)); many-few < chunks/2 {
		t.Errorf("%d PINGs after %d chunks without an answer, %d after none", many, chunks, few)
	}
}

// The outcome of a write that was not sent is known.
func TestA2_AWriteThatWasNotSentIsUnavailable(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	p := rig.NewProxy(t, server.Addr())
	p.Refuse()
	c := open(t, p.URL(), lazy)
	_, err := c.Do(t.Context(), core.Write("SET", "k", "v"))
	if !errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) {
		t.Errorf("a write without a connection: %v", err)
	}
}
