package core_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// arrived notes when a push arrives.
type arrived chan time.Time

func (a arrived) Invalidate(string) { a <- time.Now() }
func (arrived) Flush()              {}

// A push that a caller waits for is read at once. The control is a push after other reads: a
// connection without callers has no reader for a millisecond, so that the next call can read on its
// own goroutine.
func TestAnAwaitedPushIsReadAtOnce(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(10*time.Second))
	sp := space(t, c, "c")
	pushes := make(arrived, 16)
	defer c.Hub().Track(sp.Prefix(), pushes)()

	took := func(do func(context.Context, ...core.Command) []core.Result, cmds ...core.Command) time.Duration {
		t.Helper()
		for _, r := range do(t.Context(), cmds...) {
			if _, err := r.Get(); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		if _, err := c.Do(t.Context(), core.Write("SET", sp.Key("a"), "x", "EX", "60")); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-pushes:
			return at.Sub(began)
		case <-time.After(15 * time.Second):
			t.Fatal("the push did not arrive")
			return 0
		}
	}
	for name, cmds := range map[string][]core.Command{
		"one command": {core.Read("GET", sp.Key("a"))},
		"a pipeline":  {core.Read("GET", sp.Key("a")), core.Read("STRLEN", sp.Key("a"))},
	} {
		var awaited, others []time.Duration
		for range 101 {
			awaited = append(awaited, took(c.DoMultiAwaited, cmds...))
			others = append(others, took(c.DoMultiTracked, cmds...))
		}
		slices.Sort(awaited)
		slices.Sort(others)
		t.Logf("%s: median %v, control %v", name, awaited[50], others[50])
		if awaited[50] > others[50]/2 {
			t.Errorf("%s: an awaited push took %v, want at most half of the %v of others", name, awaited[50], others[50])
		}
	}
}
