package rig

import (
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Arm sets the action of a point until disarm is called or the test ends. If no call has reached
// the point until then, the test fails, because it proves nothing.
func Arm(t testing.TB, points *failpoint.Points, point string, action failpoint.Action) (disarm func()) {
	t.Helper()
	return arm(t, points, point, "", action)
}

// ArmOnce calls fn when the first call reaches a point with the given key. An empty key stands for
// any key. Later calls pass, also while fn runs.
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
			t.Errorf("no call reached the point %q %q", point, key)
		}
	})
	return disarm
}
