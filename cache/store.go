package cache

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/keys"
)

// store is what of a Cache does not depend on its type of value.
type store struct {
	name        string
	life        life
	core        *core.Core
	space       keys.Space
	opt         Options
	schema      [8]byte
	waiters     waiters
	count       counters
	generations generations
	pending     pending
	backoff     backoff
	absence     absence
	releases    releases
	unstorable  sync.Once // logged
	undecodable sync.Once // logged
	points      failpoint.Points

	loadName, takeoverName, touchName string // of goroutines

	// offset is the server's clock in ms less ours, once it is known; see serverNow.
	offset    atomic.Int64
	entrySize atomic.Int64 // of entries lately: see encode
	scratch   sync.Pool    // of *[]byte: see compressed
	largest   atomic.Int64 // of the values that the last part of a batch has read, in bytes
}

// What follows the key in the names of its siblings.
const (
	leaseSuffix   = "lease"
	outcomeSuffix = "outcome"
	longSuffix    = "long:" // and a name of its own, of the write that it belongs to
)

func (s *store) valueKey(key string) string { return s.space.Key(key) }

// pair is the names of a key's value and its lease. The first is the beginning of the second.
func (s *store) pair(key string) []string {
	lease := s.space.Sibling(key, leaseSuffix)
	return []string{lease[:len(lease)-len(":"+leaseSuffix)], lease}
}

// names are those of a key's value, its lease and the outcome of its last load.
func (s *store) names(key string) [3]string {
	pair := s.pair(key)
	return [3]string{pair[0], pair[1], s.space.Sibling(key, outcomeSuffix)}
}

func checkKey(key string) error {
	if ofMemo(key) {
		return errMemoKey
	}
	if len(key) > maxKeyBytes {
		return fmt.Errorf("the key has %d bytes: at most %d; use a digest of it", len(key), maxKeyBytes)
	}
	return nil
}

// serverNow is the server's time in ms since 1970: the last one that it has sent, and our monotonic clock since.
// Before that it is our own.
func (s *store) serverNow() int64 {
	if offset := s.offset.Load(); offset != 0 {
		return offset + s.core.Clock().Now().Milliseconds()
	}
	return time.Now().UnixMilli()
}

// serverSaid reads our exact clock: the delay of the coarse one would let the server's time go back and forth.
func (s *store) serverSaid(now int64) { s.offset.Store(now - s.core.Clock().Exact().Milliseconds()) }

// clearNow is the generation of the whole cache, from memory where pushes keep that right.
func (s *store) clearNow(ctx context.Context) (*record, error) {
	if s.core.Capabilities().Tracking {
		return s.clearRecord(ctx)
	}
	recs, err := s.captureAll(ctx, []ref{clearRef}, 0, false)
	if err != nil {
		return nil, err
	}
	return recs[0], nil
}

const tokenSize = 16

// newToken names one load. Two loads of one process have different tokens, so that one that was
// overtaken can't store under the lease of the next.
func newToken() string {
	var token [tokenSize]byte
	rand.Read(token[:]) // never fails
	return string(token[:])
}
