package rig

import (
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Arm sets what happens at a point until disarm, or until the test ends. A point that no call has
// reached by then is an error: the test would prove nothing.
func Arm(t testing.TB, points *failpoint.Points, point string, action failpoint.Action) (disarm func()) {
	t.Helper()
	return arm(t, points, point, "", action)
}

// ArmOnce calls fn for the first call that comes to a point with a key, or with any key if that is
// empty. Later calls pass, also while fn runs.
func ArmOnce(t testing.TB, points *failpoint.Points, point, key string, fn func()) (disarm func()) {
	t.Helper()
	var done atomic.Bool
	return arm(t, points, point, key, func(string) error {
		if !done.Swap(true) {
			fn()
		}
		return nil
	})
}

func arm(t testing.TB, points *failpoint.Points, point, key string, action failpoint.Action) (disarm func()) {
	t.Helper()
	var reached atomic.Bool
	disarm = points.Arm(point, func(at string) error {
		if key != "" && at != key {
			return nil
		}
		reached.Store(true)
		return action(at)
	})
	t.Cleanup(func() {
		disarm()
		if !reached.Load() && !t.Failed() {
			t.Errorf("no call came to the point %q %q", point, key)
		}
	})
	return disarm
}
