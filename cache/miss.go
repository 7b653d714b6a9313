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

// loaded is what a call got for a key that was to be loaded.
type loaded[V any] struct {
	result[V]
	from Source
	err  error
}

// load takes part in the in-flight loads of keys, and waits for all of them: take gets what came of want[i]. A panic of a loader
// is one here.
func (c *Cache[V]) load(ctx context.Context, want []wanted, source source[V], set settings, take func(i int, l loaded[V])) {
	began := time.Now()
	at := make([]int, len(want)) // what want[k] was at first
	for i := range at {
		at[i] = i
	}
	for len(want) > 0 {
		var again []wanted
		var againAt []int
		c.wait(ctx, c.begin(ctx, want, source, set), func(k int, r result[V], shared bool, err error) {
			w := want[k]
			if !r.shareable(began, w.offline) && !callEnded(ctx, err) && !errors.Is(err, flight.ErrClosed) {
				// We joined, and an invalidation may have returned between what the result knows of and our
				// beginning. Then the value must not be ours (C1).
				//
				//	A  ──load═══════════════╗ lease lost       ──load══store══reply─╗
				//	B     Delete returned   ║             or                 Delete ║
				//	we             └─join───╝ ask again                       └join─╝ ask again
				w.unread = false
				again, againAt = append(again, w), append(againAt, at[k])
				return
			}
			l := loaded[V]{result: r, from: FromLoader}
			if w.unread && r.state != missing {
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

// callEnded reports that err is the end of the call's own ctx.
func callEnded(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// wait takes the results of claims. A panic leaves the others.
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

// handOut makes of a result what one of its callers gets.
func (c *Cache[V]) handOut(ctx context.Context, key string, r *result[V], shared bool, err error, source source[V], set settings) (V, error) {
	switch {
	case errors.Is(err, flight.ErrClosed):
		return r.value, errClosed
	case err != nil, !shared:
		return r.value, err
	}
	if v, ok := c.private(r.value, r.encoded); ok {
		return v, nil
	}

	// There is no copy of it to be had, so that each caller has to load its own.
	own := c.loadAlone(ctx, source, key)
	return own.value, own.err
}

// ErrOwnKey would be a wait of a loader for itself.
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

// absence decides whether a key is taken for missing before it was read.
//
// A miss is a read that finds nothing, and then a request for the lease, which reads once more. Where one key after the other is
// missing the first read is left out, which saves one of three round trips:
//
//	         GET value ── SET lease NX GET, GET value ── load ── store
//	unread                SET lease NX GET, GET value ── load ── store
//
// That changes what is asked and not what follows from the answers. If something is stored under the key after all, it is
// served as if it had been read, and the lease is released: a round trip in the background, in which a refresh does not get
// the lease. So it takes several absent keys in a row, and any key that is there ends it.
type absence struct {
	row    atomic.Int32
	points *failpoint.Points // of the cache
}

// absentAfter is how many keys in a row must be absent.
const absentAfter = 8

// expected reports whether the next key is likely to be absent.
func (a *absence) expected() bool {
	return a.row.Load() >= absentAfter || a.points.Fail("guess", "") != nil
}

// saw learns from a key that was looked for. It writes only what changes: hits share the line.
func (a *absence) saw(nothing bool) {
	switch n := a.row.Load(); {
	case !nothing && n > 0:
		a.row.Store(0)
	case nothing && n < absentAfter:
		a.row.Add(1)
	}
}
