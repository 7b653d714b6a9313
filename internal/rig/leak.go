package rig

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// closing is the time that a goroutine has to end: the limit of Close (A7).
const closing = 5 * time.Second

// leaked returns an error that names the goroutines that remain after closing.
func leaked(options ...goleak.Option) error {
	// rueidis closes the connections to nodes that left a cluster after five seconds. Its Close
	// does not end the goroutine that does so.
	options = append(options, goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
	for deadline := time.Now().Add(closing); ; {
		// Find tries again for about a second.
		err := goleak.Find(options...)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// NoLeaks fails the test if new goroutines remain 5 s after the test and its other cleanups. Call
// it first, in a test that is not parallel. [Main] checks the whole package in any case.
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
