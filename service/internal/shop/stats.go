package shop

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
)

// Stats are the totals of the shop.
type Stats struct {
	Users        int64     `json:"users"`
	Orders       int64     `json:"orders"`
	Processed    int64     `json:"processed"`
	RevenueCents int64     `json:"revenue_cents"`
	ComputedAt   time.Time `json:"computed_at"`
}

// Stats returns totals that are at most ten minutes old. One instance computes them for all
// instances.
func (s *Shop) Stats(ctx context.Context) (Stats, Source, error) {
	if s.uncached {
		stats, err := s.total(ctx)
		return stats, FromDatabase, err
	}
	var computed atomic.Bool
	stats, err := s.stats.Call(context.WithValue(ctx, computing{}, &computed), struct{}{})
	if computed.Load() {
		return stats, FromDatabase, err
	}
	return stats, FromCache, err
}

// computing is the context key by which a caller learns that the totals were computed for its call.
type computing struct{}

func (s *Shop) memoizeStats(client *redstart.Client) error {
	totals, err := cache.New[Stats](client, "stats", cache.Options{TTL: 10 * time.Minute, LoadTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	s.stats, err = cache.Memoize(totals, "totals", func(ctx context.Context, _ struct{}) (Stats, error) {
		if computed, ok := ctx.Value(computing{}).(*atomic.Bool); ok {
			computed.Store(true)
		}
		return s.total(ctx)
	})
	return err
}

func (s *Shop) total(ctx context.Context) (Stats, error) {
	t, err := s.store.Totals(ctx)
	return Stats{t.Users, t.Orders, t.Processed, t.RevenueCents, time.Now().UTC()}, err
}
