package redstartfiber

import (
	"context"
	"errors"
	"time"

	"github.com/gofiber/fiber/v3"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/codec"
)

// maxTTL is the longest TTL of a value, also of a value without one.
const maxTTL = 366 * 24 * time.Hour

// Storage is a fiber.Storage on a cache of Redstart without a near cache. A value without an expiry
// expires after 366 days, because every key has a TTL.
type Storage struct{ values *cache.Cache[[]byte] }

var _ fiber.Storage = (*Storage)(nil)

// NewStorage returns a Storage. Storages with the same name and namespace share their values.
func NewStorage(client *redstart.Client, name string) (*Storage, error) {
	values, err := cache.New[[]byte](client, name, cache.Options{TTL: maxTTL, Codec: codec.Raw, Jitter: cache.NoJitter})
	if err != nil {
		return nil, err
	}
	return &Storage{values}, nil
}

// GetWithContext returns nil if there is no value.
func (s *Storage) GetWithContext(ctx context.Context, key string) ([]byte, error) {
	value, err := s.values.Get(ctx, key)
	if errors.Is(err, cache.ErrNotFound) {
		return nil, nil
	}
	return value, err
}

// SetWithContext stores a value. An empty key or value is ignored.
func (s *Storage) SetWithContext(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if key == "" || len(value) == 0 {
		return nil
	}
	if ttl <= 0 || ttl > maxTTL {
		ttl = maxTTL
	}
	return s.values.Set(ctx, key, value, cache.TTL(ttl))
}

// DeleteWithContext deletes a value.
func (s *Storage) DeleteWithContext(ctx context.Context, key string) error {
	return s.values.Delete(ctx, key)
}

// ResetWithContext deletes all values of the name.
func (s *Storage) ResetWithContext(ctx context.Context) error { return s.values.Clear(ctx) }

// Get is GetWithContext without a context. The command timeout of the client bounds it.
func (s *Storage) Get(key string) ([]byte, error) { return s.GetWithContext(context.Background(), key) }

// Set is SetWithContext without a context.
func (s *Storage) Set(key string, value []byte, ttl time.Duration) error {
	return s.SetWithContext(context.Background(), key, value, ttl)
}

// Delete is DeleteWithContext without a context.
func (s *Storage) Delete(key string) error { return s.DeleteWithContext(context.Background(), key) }

// Reset is ResetWithContext without a context.
func (s *Storage) Reset() error { return s.ResetWithContext(context.Background()) }

// Close closes the cache, not the client.
func (s *Storage) Close() error { return s.values.Close() }
