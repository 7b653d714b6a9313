package convoy_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/convoy"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/internal/script"
)

func TestMain(m *testing.M) { rig.Main(m) }

// count answers the number at the end of a key's name, or -1, and how often it was sent.
var count = script.New(`
local answers = {}
for i, key in ipairs(KEYS) do
  answers[2 * i - 1] = tonumber(string.match(key, '%d+$') or -1)
  answers[2 * i] = redis.call('INCR', key)
  redis.call('PEXPIRE', key, ARGV[1])
end
return answers`)

func newConvoy(c *core.Core) *convoy.Convoy { return convoy.New(c, count, []string{"60000"}, 2) }

const patience = 10 * time.Second

func open(t *testing.T, url string, timeout time.Duration) *core.Core {
	t.Helper()
	return rigclient.Open(t, url, "", rigclient.Within(timeout)).Core()
}

// crowd is callers of one convoy, each with a key of its own, behind a proxy that lets nothing through: as many as
// may are away, the others wait for them.
type crowd struct {
	prefix string
	convoy *convoy.Convoy
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   map[int]error
}

func gather(t *testing.T, c *core.Core, proxy *rig.Proxy, n int, ctxOf func(i int) context.Context) *crowd {
	t.Helper()
	w := &crowd{prefix: rig.Prefix(t), convoy: newConvoy(c), errs: map[int]error{}}
	if err := w.convoy.Eval(t.Context(), w.prefix+"warm", make([]int64, 2)); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	for i := range n {
		ctx := ctxOf(i)
		w.wg.Go(func() {
			err := w.ask(ctx, i)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errs[i] = err
		})
		rig.Eventually(t, patience, "caller under way", func() bool {
			away, waiting := w.convoy.State()
			return away+waiting == i+1
		})
	}
	return w
}

func (w *crowd) key(i int) string { return w.prefix + ":" + strconv.Itoa(i) }

// ask fails also when the answer is another's, or the key was sent before.
func (w *crowd) ask(ctx context.Context, i int) error {
	var got [2]int64
	if err := w.convoy.Eval(ctx, w.key(i), got[:]); err != nil {
		return err
	}
	if want := [2]int64{int64(i), 1}; got != want {
		return fmt.Errorf("%d was answered %d, want %d", i, got, want)
	}
	return nil
}

func (w *crowd) returned(i int) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	err, ok := w.errs[i]
	return ok, err
}

func background(t *testing.T) func(int) context.Context {
	return func(int) context.Context { return t.Context() }
}

func TestThoseWhoWaitGoTogether(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const callers = convoy.Ahead + 2*convoy.Abreast + 1
	w := gather(t, open(t, proxy.URL(), time.Minute), proxy, callers, background(t))
	before := server.CommandStats()
	proxy.Resume()
	w.wg.Wait()
	for i, err := range w.errs {
		if err != nil {
			t.Error(i, err)
		}
	}
	if calls := server.CommandStats()["evalsha"] - before["evalsha"]; calls != convoy.Ahead+3 {
		t.Errorf("%d calls for %d callers, want %d alone and 3 together", calls, callers, convoy.Ahead)
	}
	if away, waiting := w.convoy.State(); away+waiting != 0 {
		t.Errorf("%d away and %d waiting when all are back", away, waiting)
	}
}

// The callers with deadlines get their own error at their time, and their keys are not sent if they had not been; nobody else
// notices.
func TestA1_ADeadlineIsItsCallersOwn(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	waits, cancelWaits := context.WithCancelCause(t.Context())
	away, cancelAway := context.WithCancelCause(t.Context())
	over := errors.New("over")
	leaves := func(i int) bool { return i == 1 || i > convoy.Ahead && i%3 == 0 }
	const callers = convoy.Ahead + convoy.Abreast + 10
	w := gather(t, open(t, proxy.URL(), time.Minute), proxy, callers, func(i int) context.Context {
		switch {
		case i == 1:
			return away
		case leaves(i):
			return waits
		}
		return t.Context()
	})
	// Those who wait leave before the one who is away: in his place the next call goes, with all who wait for it then.
	cancelWaits(over)
	rig.Eventually(t, patience, "those who waited are back", func() bool {
		for i := range callers {
			if ok, _ := w.returned(i); i != 1 && leaves(i) && !ok {
				return false
			}
		}
		return true
	})
	cancelAway(over)
	rig.Eventually(t, patience, "the one who was away is back", func() bool { ok, _ := w.returned(1); return ok })
	for i := range callers {
		ok, err := w.returned(i)
		switch {
		case ok != leaves(i):
			t.Errorf("%d is back with %v", i, err)
		case ok && (!errors.Is(err, context.Canceled) || !errors.Is(err, over)):
			t.Errorf("%d: %v", i, err)
		case i > convoy.Ahead && errors.Is(err, redstart.ErrIndeterminate):
			t.Errorf("%d was not sent, and is told %v", i, err)
		}
	}
	proxy.Resume()
	w.wg.Wait()
	for i := range callers {
		if _, err := w.returned(i); !leaves(i) && err != nil {
			t.Error(i, err)
		}
		if i >= convoy.Ahead && leaves(i) && server.CLI("EXISTS", w.key(i)) != "0" {
			t.Errorf("%d had left, and was sent", i)
		}
	}
}

// The command timeout is everybody's own, too: it begins with the call, not when it is sent.
func TestA1_CommandTimeoutCountsFromTheCall(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const callers = convoy.Ahead + 10
	w := gather(t, open(t, proxy.URL(), time.Second), proxy, callers, background(t))
	watch := rig.Watch(t)
	w.wg.Wait()
	if took := watch.Took(); took > patience {
		t.Errorf("back after %v", took)
	}
	for i := range callers {
		if _, err := w.returned(i); !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
			t.Errorf("%d: %v", i, err)
		}
	}
	proxy.Resume()
	for i := convoy.Ahead; i < callers; i++ {
		if _, err := w.returned(i); !errors.Is(err, redstart.ErrIndeterminate) && server.CLI("EXISTS", w.key(i)) != "0" {
			t.Errorf("%d was told that nothing was sent", i)
		}
	}
}

func TestA2_AFailureIsEverybodys(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const callers = convoy.Ahead + 20
	w := gather(t, open(t, proxy.URL(), time.Minute), proxy, callers, background(t))
	server.CLI("LPUSH", w.key(convoy.Ahead+3), "no number") // the script ends there
	proxy.Resume()
	w.wg.Wait()
	for i, err := range w.errs {
		if alone := i < convoy.Ahead; alone && err != nil || !alone && !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestA7_CloseEndsThoseWhoWait(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	client, err := redstart.Open(t.Context(), redstart.Config{URL: proxy.URL(), CommandTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	const callers = convoy.Ahead + convoy.Abreast + 10
	w := gather(t, client.Core(), proxy, callers, background(t))
	watch := rig.Watch(t)
	_ = client.Close() // what is on its way may be named in its error
	w.wg.Wait()
	if took := watch.Took(); took > patience {
		t.Errorf("back after %v", took)
	}
	for i, err := range w.errs {
		if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrIndeterminate) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := w.convoy.Eval(t.Context(), "k", make([]int64, 2)); !errors.Is(err, redstart.ErrUnavailable) {
		t.Errorf("a closed client: %v", err)
	}
}

// In a cluster keys have slots, and everybody goes alone.
func TestClusterAlone(t *testing.T) {
	t.Parallel()
	c := open(t, rig.SharedCluster(t).URL(), patience)
	w := &crowd{prefix: rig.Prefix(t), convoy: newConvoy(c)}
	for i := range 200 {
		w.wg.Go(func() {
			if err := w.ask(t.Context(), i); err != nil {
				t.Error(err)
			}
			if away, waiting := w.convoy.State(); away+waiting != 0 {
				t.Errorf("%d away, %d waiting", away, waiting)
			}
		})
	}
	w.wg.Wait()
}
