package rig

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// closing is how long a goroutine may take to end: what guarantee A7 allows Close.
const closing = 5 * time.Second

// leaked names the goroutines that are still there after closing.
func leaked(options ...goleak.Option) error {
	// rueidis closes the connections to nodes that left a cluster five seconds later,
	// on a goroutine of its own that its Close does not end.
	options = append(options, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
	for deadline := time.Now().Add(closing); ; {
		// Find itself tries again for about a second.
		err := goleak.Find(options...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// NoLeaks fails the test if goroutines that were not there when NoLeaks was called
// remain 5 s after the test and its other cleanups are done. Call it first, in a test
// that is not parallel: Main checks the whole package in any case.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		err := leaked(before,
			goleak.IgnoreAnyFunction("github.com/redstart-go/redstart/internal/rig.(*starter).run"),
			goleak.IgnoreAnyFunction("github.com/redstart-go/redstart/internal/rig.(*Server).exec.func1"),
		)
		if err != nil {
			t.Error(err)
		}
	})
}
