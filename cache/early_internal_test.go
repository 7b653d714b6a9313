package cache

import (
	"math"
	"testing"
	"time"
)

// XFetch reloads an entry with probability exp(-left/(β·cost)).
func TestEarlyIsXFetch(t *testing.T) {
	t.Parallel()
	const throws = 20_000
	for _, beta := range []float64{0.5, 1, 3} {
		s := &store{opt: Options{EarlyRefresh: beta}}
		for _, left := range []time.Duration{0, 10 * time.Millisecond, 100 * time.Millisecond,
			300 * time.Millisecond, time.Minute} {
			const cost = 100 * time.Millisecond
			hits := 0
			for range throws {
				if s.early(left, cost) {
					hits++
				}
			}
			p := math.Exp(-float64(left) / (beta * float64(cost)))
			if off := math.Abs(float64(hits) - throws*p); off > 6*math.Sqrt(throws*p*(1-p))+1 {
				t.Errorf("β %v, %v left of a load of %v: %d of %d, want about %.0f", beta, left, cost, hits, throws, throws*p)
			}
		}
		if s.early(time.Nanosecond, 0) {
			t.Error("a load that took no time is repeated early")
		}
	}
	none := &store{}
	if none.early(time.Nanosecond, time.Hour) {
		t.Error("NoEarlyRefresh repeats a load")
	}
}
