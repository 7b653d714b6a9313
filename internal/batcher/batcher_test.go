package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/batcher"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/internal/script"
)

func TestMain(m *testing.M) { rig.Main(m) }

// count answers two integers per key: the number at the end of the key's name, or -1, and how often
// the key was sent.
var count = script.New(`
local answers = {}
for i, key in ipairs(KEYS) do
  answers[2 * i - 1] = tonumber(string.match(key, '%d+$') or -1)
  answers[2 * i] = redis.call('INCR', key)
  redis.call('PEXPIRE', key, ARGV[1])
end
return answers`)

func newBatcher(c *core.Core) *batcher.Batcher { return batcher.New(c, count, []string{"60000"}, 2) }

const patience = 10 * time.Second

func open(t *testing.T, url string, timeout time.Duration) *core.Core {
	t.Helper()
	return clientcore.Of(rigclient.Open(t, url, "", rigclient.Within(timeout)))
}

// callers are concurrent callers of one batcher, each with its own key, behind a stalled proxy. The
// first MaxInFlight calls are in flight; the others wait.
type callers struct {
	prefix  string
	batcher *batcher.Batcher
	wg      sync.WaitGroup

	mu   sync.Mutex
	errs map[int]error // by caller; only callers that returned
}

func startCallers(t *testing.T, c *core.Core, proxy *rig.Proxy, n int, ctxOf func(i int) context.Context) *callers {
	t.Helper()
	group := &callers{prefix: rig.Prefix(t), batcher: newBatcher(c), errs: map[int]error{}}
	if err := group.batcher.Eval(t.Context(), group.prefix+"warm", make([]int64, 2)); err != nil {
		t.Fatal(err)
	}

	proxy.Stall()
	for i := range n {
		ctx := ctxOf(i)
		group.wg.Go(func() {
			err := group.call(ctx, i)
			group.mu.Lock()
			defer group.mu.Unlock()
			group.errs[i] = err
		})
		rig.Eventually(t, patience, "caller in flight or waiting", func() bool {
			inFlight, waiting := group.batcher.State()
			return inFlight+waiting == i+1
		})
	}
	return group
}

func (c *callers) key(i int) string { return c.prefix + ":" + strconv.Itoa(i) }

// call also fails if the answer belongs to another caller, or if the key was sent before.
func (c *callers) call(ctx context.Context, i int) error {
	var got [2]int64
	if err := c.batcher.Eval(ctx, c.key(i), got[:]); err != nil {
		return err
	}
	if want := [2]int64{int64(i), 1}; got != want {
		return fmt.Errorf("caller %d got %d, want %d", i, got, want)
	}
	return nil
}

func (c *callers) returned(i int) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err, ok := c.errs[i]
	return ok, err
}

func background(t *testing.T) func(int) context.Context {
	return func(int) context.Context { return t.Context() }
}

func TestWaitingCallersShareOneCall(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const n = batcher.MaxInFlight + 2*batcher.MaxKeys + 1
	group := startCallers(t, open(t, proxy.URL(), time.Minute), proxy, n, background(t))
	before := server.CommandStats()

	proxy.Resume()
	group.wg.Wait()
	for i, err := range group.errs {
		if err != nil {
			t.Error(i, err)
		}
	}
	if calls := server.CommandStats()["evalsha"] - before["evalsha"]; calls != batcher.MaxInFlight+3 {
		t.Errorf("%d calls for %d callers, want %d with one key and 3 batches", calls, n, batcher.MaxInFlight)
	}
	if inFlight, waiting := group.batcher.State(); inFlight+waiting != 0 {
		t.Errorf("%d calls in flight and %d callers waiting after all returned", inFlight, waiting)
	}
}

// A caller whose context ends gets its own error at that time. If its key was not sent yet, the key
// is not sent later. Other callers are not affected.
func TestA1_ContextOfOneCallerEndsOnlyItsCall(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	waitingCtx, cancelWaiting := context.WithCancelCause(t.Context())
	inFlightCtx, cancelInFlight := context.WithCancelCause(t.Context())
	cause := errors.New("canceled by the test")
	leaves := func(i int) bool { return i == 1 || i > batcher.MaxInFlight && i%3 == 0 }
	const n = batcher.MaxInFlight + batcher.MaxKeys + 10
	group := startCallers(t, open(t, proxy.URL(), time.Minute), proxy, n, func(i int) context.Context {
		switch {
		case i == 1:
			return inFlightCtx
		case leaves(i):
			return waitingCtx
		}
		return t.Context()
	})

	// The waiting callers leave before caller 1. When caller 1 returns, the next batch is sent with
	// all callers that still wait.
	cancelWaiting(cause)
	rig.Eventually(t, patience, "waiting callers returned", func() bool {
		for i := range n {
			if ok, _ := group.returned(i); i != 1 && leaves(i) && !ok {
				return false
			}
		}
		return true
	})
	cancelInFlight(cause)
	rig.Eventually(t, patience, "caller in flight returned", func() bool { ok, _ := group.returned(1); return ok })

	for i := range n {
		ok, err := group.returned(i)
		switch {
		case ok != leaves(i):
			t.Errorf("caller %d returned %v", i, err)
		case ok && (!errors.Is(err, context.Canceled) || !errors.Is(err, cause)):
			t.Errorf("caller %d: %v", i, err)
		case i > batcher.MaxInFlight && errors.Is(err, redstart.ErrIndeterminate):
			t.Errorf("key of caller %d was not sent, but the error is %v", i, err)
		}
	}

	proxy.Resume()
	group.wg.Wait()
	for i := range n {
		if _, err := group.returned(i); !leaves(i) && err != nil {
			t.Error(i, err)
		}
		if i >= batcher.MaxInFlight && leaves(i) && server.CLI("EXISTS", group.key(i)) != "0" {
			t.Errorf("caller %d left before its key was sent, but the key was sent", i)
		}
	}
}

// The command timeout starts with the call of Eval, not when the batch is sent.
func TestA1_CommandTimeoutCountsFromTheCall(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const n = batcher.MaxInFlight + 10
	group := startCallers(t, open(t, proxy.URL(), time.Second), proxy, n, background(t))

	watch := rig.Watch(t)
	group.wg.Wait()
	if took := watch.Took(); took > patience {
		t.Errorf("callers returned after %v", took)
	}
	for i := range n {
		if _, err := group.returned(i); !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
			t.Errorf("caller %d: %v", i, err)
		}
	}

	proxy.Resume()
	for i := batcher.MaxInFlight; i < n; i++ {
		_, err := group.returned(i)
		if !errors.Is(err, redstart.ErrIndeterminate) && server.CLI("EXISTS", group.key(i)) != "0" {
			t.Errorf("caller %d got %v, but its key was sent", i, err)
		}
	}
}

func TestA2_FailureOfABatchReachesEachCaller(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const n = batcher.MaxInFlight + 20
	group := startCallers(t, open(t, proxy.URL(), time.Minute), proxy, n, background(t))
	server.CLI("LPUSH", group.key(batcher.MaxInFlight+3), "no number") // the script fails at this key

	proxy.Resume()
	group.wg.Wait()
	for i, err := range group.errs {
		if single := i < batcher.MaxInFlight; single && err != nil || !single && !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("caller %d: %v", i, err)
		}
	}
}

func TestA7_CloseEndsWaitingCallers(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	client, err := redstart.Open(t.Context(), redstart.Config{URL: proxy.URL(), CommandTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	const n = batcher.MaxInFlight + batcher.MaxKeys + 10
	group := startCallers(t, clientcore.Of(client), proxy, n, background(t))

	watch := rig.Watch(t)
	_ = client.Close() // its error may name the calls in flight
	group.wg.Wait()
	if took := watch.Took(); took > patience {
		t.Errorf("callers returned after %v", took)
	}
	for i, err := range group.errs {
		if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if err := group.batcher.Eval(t.Context(), "k", make([]int64, 2)); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("Eval with a closed client: %v", err)
	}
}

// In a cluster, keys are in different slots, so every call has one key.
func TestClusterCallsHaveOneKey(t *testing.T) {
	t.Parallel()
	c := open(t, rig.SharedCluster(t).URL(), patience)
	group := &callers{prefix: rig.Prefix(t), batcher: newBatcher(c)}
	for i := range 200 {
		group.wg.Go(func() {
			if err := group.call(t.Context(), i); err != nil {
				t.Error(err)
			}
			if inFlight, waiting := group.batcher.State(); inFlight+waiting != 0 {
				t.Errorf("%d calls in flight, %d callers waiting", inFlight, waiting)
			}
		})
	}
	group.wg.Wait()
}
