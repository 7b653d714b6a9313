package ratelimit_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
)

// FailLocal in virtual time: no window has more than the share, and RetryAfter is exact to the
// nanosecond.
func TestR5_LocalShareIsExact(t *testing.T) {
	t.Parallel()
	for _, a := range all {
		for seed := range uint64(60) {
			rng := rand.New(rand.NewPCG(seed, 2))
			rule := ratelimit.Rule{Name: "r", Limit: 1 + rng.Int64N(40), Window: time.Duration(1+rng.Int64N(5)) * time.Second}
			share := 0.05 + 0.95*rng.Float64()
			local := ratelimit.NewLocal(a, share, rule)
			var admitted []time.Duration
			now := time.Duration(rng.Int64N(int64(time.Hour)))
			for range 300 {
				now += time.Duration(rng.ExpFloat64() * float64(rule.Window) / float64(rule.Limit))
				r := local.Allow("k", 1, now)
				if !r.Allowed && rng.IntN(2) == 0 {
					// the level of GCRA is a float
					if local.Allow("k", 1, now+r.RetryAfter-1).Allowed && a != ratelimit.GCRA {
						t.Fatalf("%v, seed %d: admitted before RetryAfter", a, seed)
					}
					now += r.RetryAfter
					if r = local.Allow("k", 1, now); !r.Allowed {
						t.Fatalf("%v, seed %d: refused at RetryAfter: %+v", a, seed, r)
					}
				}
				if r.Allowed {
					admitted = append(admitted, now)
				}
			}
			limit := max(1, int(share*float64(rule.Limit)))
			window := rule.Window
			if own := share * float64(rule.Limit); own < 1 {
				window = time.Duration(float64(window) / own)
			}
			if a == ratelimit.GCRA {
				limit += int(share*float64(rule.Limit)*float64(window)/float64(rule.Window)) + 1
			}
			for i := range admitted {
				if j := i + limit; j < len(admitted) && admitted[j]-admitted[i] < window {
					t.Fatalf("%v, seed %d: %d admitted within %v, the share is %d per %v", a, seed, limit+1,
						admitted[j]-admitted[i], limit, window)
				}
			}
			if len(admitted) == 0 {
				t.Fatalf("%v, seed %d: nothing admitted", a, seed)
			}
		}
	}
}
