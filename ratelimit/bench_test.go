package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// BenchmarkAllow measures Allow by algorithm, from many goroutines. The comparison with rivals is
// in bench/ratelimit.
func BenchmarkAllow(b *testing.B) {
	client := open(b, rig.Shared(b).URL(), rig.Prefix(b))
	for _, a := range all {
		b.Run(a.String(), func(b *testing.B) {
			l, err := ratelimit.New(client, a.String(),
				ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{ratelimit.PerSecond(1_000_000)}})
			if err != nil {
				b.Fatal(err)
			}
			parallel(b, func() error {
				_, err := l.Allow(b.Context(), "k")
				return err
			})
		})
	}
}

// BenchmarkLocal measures answers without a round trip: a denied key, a token of a lease, a share
// in an outage.
func BenchmarkLocal(b *testing.B) {
	client := open(b, rig.Shared(b).URL(), rig.Prefix(b))
	refused := limiter(b, client, ratelimit.Options{Rules: []ratelimit.Rule{{Limit: 1, Window: year}}})
	b.Run("refused", func(b *testing.B) {
		allow(b, refused, "k", 1)
		allow(b, refused, "k", 1)
		parallel(b, func() error {
			_, err := refused.Allow(b.Context(), "k")
			return err
		})
	})
	leased := limiter(b, client, ratelimit.Options{
		Rules: []ratelimit.Rule{{Limit: 1_000_000_000, Window: time.Second}}, Lease: ratelimit.Lease{Batch: 100_000},
	})
	b.Run("leased", func(b *testing.B) {
		parallel(b, func() error {
			_, err := leased.Allow(b.Context(), "k")
			return err
		})
	})
	local := ratelimit.NewLocal(ratelimit.GCRA, 1, ratelimit.PerSecond(1_000_000))
	began := time.Now()
	b.Run("outage", func(b *testing.B) {
		parallel(b, func() error {
			if !local.Allow("k", 1, time.Since(began)).Degraded {
				return fmt.Errorf("not degraded")
			}
			return nil
		})
	})
}

func parallel(b *testing.B, fn func() error) {
	b.Helper()
	b.SetParallelism(64)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := fn(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
