package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/failpoint"
	"github.com/redstart-go/redstart/internal/flight"
)

// loaded is the result of one key for a call that needed a load.
type loaded[V any] struct {
	result[V]
	from Source
	err  error
}

// load joins the in-flight loads of keys and waits for all of them. take gets the result of
// want[i]. If a loader panics, load panics.
func (c *Cache[V]) load(ctx context.Context, want []wanted, source source[V], set settings, take func(i int, l loaded[V])) {
	began := time.Now()
	at := make([]int, len(want)) // index of want[k] in the call
	for i := range at {
		at[i] = i
	}
	for len(want) > 0 {
		var again []wanted
		var againAt []int
		c.wait(ctx, c.begin(ctx, want, source, set), func(k int, r result[V], shared bool, err error) {
			w := want[k]
			if !r.sharers.include(began, w.offline) && !callEnded(ctx, err) && !errors.Is(err, flight.ErrClosed) {
				// The call C joined a load that began earlier. An invalidation may have returned
				// after the time for which the result is valid and before C began. Then C asks
				// again (C1).
				//
				//	A  ──load═══════════════╗ lease lost       ──load══store══reply─╗
				//	B     Delete returned   ║             or                 Delete ║
				//	C             └─join────╝ ask again                      └─join─╝ ask again
				w.optimistic = false
				again, againAt = append(again, w), append(againAt, at[k])
				return
			}
			l := loaded[V]{result: r, from: FromLoader}
			if w.optimistic && r.state != missing {
				l.from = FromServer
			}
			if l.value, l.err = c.handOut(ctx, w.key, &r, shared, err, source, set); callEnded(ctx, err) {
				l.err = ended(ctx)
			}
			take(at[k], l)
		})
		want, at = again, againAt
	}
}

// callEnded reports whether err is the end of the call's own ctx.
func callEnded(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// wait takes the results of claims. If one panics, the call leaves the others.
func (c *Cache[V]) wait(ctx context.Context, claims []claim[V], take func(k int, r result[V], shared bool, err error)) {
	next := 0
	defer func() {
		for _, claim := range claims[next:] {
			if claim != nil {
				claim.Leave(errors.New("cache: another load of the same call has panicked"))
			}
		}
	}()
	for next < len(claims) {
		claim := claims[next]
		next++
		if claim == nil {
			take(next-1, result[V]{}, false, flight.ErrClosed)
			continue
		}
		r, shared, err := claim.Wait(ctx)
		take(next-1, r, shared, err)
	}
}

// handOut returns the value that one caller gets of a shared result.
func (c *Cache[V]) handOut(ctx context.Context, key string, r *result[V], shared bool, err error,
	source source[V], set settings) (V, error) {
	switch {
	case errors.Is(err, flight.ErrClosed):
		return r.value, errClosed
	case err != nil, !shared:
		return r.value, err
	}
	if v, ok := c.private(r.value, r.encoded); ok {
		return v, nil
	}

	// The value can't be copied, so each caller loads its own.
	own := c.loadAlone(ctx, source, key)
	return own.value, own.err
}

// ownKey returns ErrOwnKey if the call comes from a loader of one of its keys.
func (c *Cache[V]) ownKey(ctx context.Context, want []wanted) error {
	for a := adjusting(ctx); a != nil; a = adjusting(a.Context) {
		if a.ended.Load() || a.cache != any(c) {
			continue
		}
		for _, w := range want {
			if slices.Contains(a.keys, w.key) {
				return fmt.Errorf("%w: %q", ErrOwnKey, w.key)
			}
		}
	}
	return nil
}

// absence decides whether a lookup starts with an optimistic lease request, without a read before
// it.
//
// A miss reads the key, finds nothing, and requests the lease, which reads the key again. After
// absentAfter missing keys in a row, the first read is left out. That saves one of three round
// trips:
//
//	             GET value ── SET lease NX GET, GET value ── load ── store
//	optimistic                SET lease NX GET, GET value ── load ── store
//
// If a value is stored after all, the call serves it and releases the lease in the background. A
// refresh can't get the lease until then. Therefore one key that is present ends the optimistic
// requests.
type absence struct {
	row    atomic.Int32
	points *failpoint.Points // of the cache
}

// absentAfter is the number of missing keys in a row after which lease requests are optimistic.
const absentAfter = 8

// expected reports whether the next key is probably missing.
func (a *absence) expected() bool {
	return a.row.Load() >= absentAfter || a.points.Fail("optimistic", "") != nil
}

// saw records whether a key was missing. It writes only a change, because hits share the cache
// line.
func (a *absence) saw(nothing bool) {
	switch n := a.row.Load(); {
	case !nothing && n > 0:
		a.row.Store(0)
	case nothing && n < absentAfter:
		a.row.Add(1)
	}
}
