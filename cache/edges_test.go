package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// heapInUse returns the bytes of reachable memory. Tests that call it don't run in parallel with
// others.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A generation in memory does not keep the entry in memory from which the name of its tag was read.
func TestTagsInMemoryDoNotHoldEntries(t *testing.T) {
	ctx, server := t.Context(), rig.Shared(t)
	namespace := rig.Prefix(t)
	writer := on(t, dial(t, server.URL(), namespace), cache.Options{CompressAbove: cache.NoCompression})
	reader := on(t, dial(t, server.URL(), namespace), cache.Options{})
	const entries, size = 200, 100 << 10
	large := user{Name: strings.Repeat("x", size)}
	for i := range entries {
		if err := writer.Set(ctx, fmt.Sprint(i), large, cache.Tags(fmt.Sprint("tag", i))); err != nil {
			t.Fatal(err)
		}
	}

	was := heapInUse()
	for i := range entries {
		if v, err := reader.Get(ctx, fmt.Sprint(i)); err != nil || len(v.Name) != size {
			t.Fatal(len(v.Name), err)
		}
	}

	if kept := heapInUse() - was; kept > entries*size/2 {
		t.Fatalf("%d reads of %d KiB left %d KiB in memory", entries, size>>10, kept>>10)
	}
	runtime.KeepAlive(reader)
}

// A deadline is context.DeadlineExceeded, for any cause of the context.
func TestA2_ADeadlineWithACauseIsADeadline(t *testing.T) {
	t.Parallel()
	e := rig.Engine{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t)}
	c := open(t, e, cache.Options{})
	warm(t, c)
	cause := errors.New("the request took too long")
	calls := map[string]func(ctx context.Context) error{
		"GetOrLoad": func(ctx context.Context) error {
			_, err := c.GetOrLoad(ctx, "1", func(ctx context.Context, _ string) (user, error) {
				<-ctx.Done()
				return user{}, ctx.Err()
			})
			return err
		},
		"GetOrLoadMany": func(ctx context.Context) error {
			_, err := c.GetOrLoadMany(ctx, []string{"1"}, func(ctx context.Context, _ []string) (map[string]user, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			return err
		},
	}
	for name, call := range calls {
		for _, before := range []time.Duration{0, 20 * time.Millisecond} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), before, cause)
			err := call(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cause) {
				t.Errorf("%s with %v: %v: want the deadline and its cause", name, before, err)
			}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
		if err := call(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
			t.Errorf("%s: %v: want the cancellation and its cause", name, err)
		}
	}
}

// An outage costs no goroutine per call: a lease that was never requested is not released.
func TestC4_AnOutageLeavesNoGoroutines(t *testing.T) {
	ctx := t.Context()
	server := rig.Standalone(t)
	c := on(t, dialWith(t, redstart.Config{URL: server.URL(), Namespace: "app", CommandTimeout: downTimeout}), cache.Options{})
	for i := range 20 {
		if _, err := c.GetOrLoad(ctx, fmt.Sprint("absent", i), constantLocked(before)); err != nil {
			t.Fatal(err)
		}
	}
	server.Kill()

	const calls = 500
	queued, was := 0, runtime.NumGoroutine()
	for i := range calls {
		queued = max(queued, c.QueuedReleases())
		if v, err := c.GetOrLoad(ctx, fmt.Sprint("k", i), constantLocked(after)); err != nil || v != after {
			t.Fatal(v, err)
		}
		keys := []string{fmt.Sprint("m", i)}
		if _, err := c.GetOrLoadMany(ctx, keys, func(context.Context, []string) (map[string]user,
			error) {
			return nil, nil
		}); err != nil {
			t.Fatal(err)
		}
	}

	if now := runtime.NumGoroutine(); now > was+calls/10 {
		t.Fatalf("%d calls in an outage left %d goroutines", calls, now-was)
	}
	if queued > calls/50 { // the first calls may have sent their requests to the ended server
		t.Errorf("%d calls in an outage wanted to release %d leases at once", calls, queued)
	}
}
