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
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
)

// store is the part of a Cache that does not depend on its type of value.
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
	unstorable  sync.Once // for its log line
	undecodable sync.Once // for its log line
	points      failpoint.Points

	loadName, takeoverName, touchName string // names of goroutines

	// offset is the server's clock minus the client's in ms, 0 while it is unknown: see serverNow.
	offset    atomic.Int64
	entrySize atomic.Int64 // recent size of entries: see encode
	scratch   sync.Pool    // of *[]byte: see compressed
	buffers   sync.Pool    // of *[]byte: see recycle
	largest   atomic.Int64 // largest value in the last part of a batch, in bytes
}

// Suffixes of the keys next to a value.
const (
	leaseSuffix   = "lease"
	outcomeSuffix = "outcome"
	longSuffix    = "long:" // followed by a random name of the write
)

func (s *store) valueKey(key string) string { return s.space.Key(key) }

// pair returns the server's keys of a value and of its lease. The first is a prefix of the second.
func (s *store) pair(key string) []string {
	lease := s.space.Sibling(key, leaseSuffix)
	return []string{lease[:len(lease)-len(":"+leaseSuffix)], lease}
}

// names returns the server's keys of a value, of its lease and of the outcome of its last load.
func (s *store) names(key string) [3]string {
	pair := s.pair(key)
	return [3]string{pair[0], pair[1], s.space.Sibling(key, outcomeSuffix)}
}

func checkKey(key string) error {
	if ofMemo(key) {
		return errMemoKey
	}
	if len(key) > maxKeyBytes {
		return fault.New(fault.ErrTooLarge, fmt.Errorf("the key has %d bytes", len(key)),
			fmt.Sprintf("at most %d: use a digest of it", maxKeyBytes))
	}
	return nil
}

// serverNow returns the server's time in ms since 1970: the last one that it sent, and the
// monotonic time since then. Before the first one, it is the client's time.
func (s *store) serverNow() int64 {
	if offset := s.offset.Load(); offset != 0 {
		return offset + s.core.Clock().Now().Milliseconds()
	}
	return time.Now().UnixMilli()
}

// serverSaid records the server's time. It uses the exact clock: the delay of the coarse clock
// would move the server's time back and forth.
func (s *store) serverSaid(now int64) { s.offset.Store(now - s.core.Clock().Exact().Milliseconds()) }

// clearNow returns the generation of the whole cache, from memory if pushes keep that current.
func (s *store) clearNow(ctx context.Context) (*generation, error) {
	if s.core.Capabilities().Tracking {
		return s.clearGeneration(ctx)
	}
	gens, err := s.captureAll(ctx, []ref{clearRef}, 0, false)
	if err != nil {
		return nil, err
	}
	return gens[0], nil
}

const tokenSize = 16

// newToken returns the token of one load. Two loads of one process have different tokens: a load
// that was overtaken can't store under the lease of the next.
func newToken() string {
	var token [tokenSize]byte
	rand.Read(token[:]) // never fails
	return string(token[:])
}
