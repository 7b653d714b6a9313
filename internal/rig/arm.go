package rig

import (
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/internal/failpoint"
)

// Arm sets what happens at a point until disarm, or until the test ends. A point that no call has reached by then is an error: the test
// would prove nothing.
func Arm(t testing.TB, points *failpoint.Points, point string, action failpoint.Action) (disarm func()) {
	t.Helper()
	var reached atomic.Bool
	disarm = points.Arm(point, func(key string) error {
		reached.Store(true)
		return action(key)
	})
	t.Cleanup(func() {
		disarm()
		if !reached.Load() && !t.Failed() {
			t.Errorf("no call came to the point %q", point)
		}
	})
	return disarm
}
