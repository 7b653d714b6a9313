package failpoint_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

func TestPoints(t *testing.T) {
	t.Parallel()
	var points failpoint.Points
	wrong := errors.New("wrong")
	if points.Fail("a", "") != nil || points.Duration("d", time.Hour) != time.Hour || (*failpoint.Points)(nil).Fail("a", "") != nil {
		t.Error("points that are off do something")
	}

	var keys []string
	disarm := rig.Arm(t, &points, "a", func(key string) error { keys = append(keys, key); return wrong })
	rig.Arm(t, &points, "d", failpoint.Lasts(time.Second))
	if err := points.Fail("a", "1"); err != wrong {
		t.Errorf("Fail: %v", err)
	}
	if err := points.Fail("b", "2"); err != nil || points.Duration("e", time.Hour) != time.Hour {
		t.Errorf("another point: %v", err)
	}
	if d := points.Duration("d", time.Hour); d != time.Second {
		t.Errorf("Duration: %v", d)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Hold loses an error")
			}
		}()
		points.Hold("a", "3")
	}()
	disarm()
	points.Hold("a", "4")
	var seen []any
	points.ArmLook("s", func(objects ...any) { seen = objects })
	points.Show("t", 1)
	points.Show("s", 2, "3")
	if len(seen) != 2 || seen[0] != 2 || seen[1] != "3" || !points.On() {
		t.Errorf("Show: %v", seen)
	}
	if len(keys) != 2 || keys[0] != "1" || keys[1] != "3" {
		t.Errorf("keys %q", keys)
	}
}

// An action may disarm its own point while other goroutines pass the point.
func TestArmWhileCallsPass(t *testing.T) {
	t.Parallel()
	var points failpoint.Points
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				points.Hold("a", "")
				points.Hold("b", "")
			}
		})
	}
	for range 100 {
		disarm := rig.Arm(t, &points, "b", func(string) error { return nil })
		points.Hold("b", "")
		disarm()
	}
	wg.Wait()
}

// A point that no call reaches fails the test that armed it, because its name may be wrong.
func TestAPointThatNoCallReaches(t *testing.T) {
	t.Parallel()
	for _, reached := range []bool{true, false} {
		var points failpoint.Points
		inner := &recorder{TB: t}
		rig.Arm(inner, &points, "a", func(string) error { return nil })
		if reached {
			points.Hold("a", "")
		}
		inner.end()
		if inner.failed == reached {
			t.Errorf("reached %v: failed %v", reached, inner.failed)
		}
		if points.Fail("a", "") != nil {
			t.Error("the point outlives its test")
		}
	}
}

// recorder is a test within a test.
type recorder struct {
	testing.TB
	failed bool
	end    func()
}

func (r *recorder) Cleanup(fn func())     { r.end = fn }
func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Failed() bool          { return r.failed }

func BenchmarkPointThatIsOff(b *testing.B) {
	var points failpoint.Points
	for b.Loop() {
		points.Hold("a", "key")
	}
}
