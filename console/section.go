package console

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
)

// readTimeout bounds one read of a page, so that each page answers within a second.
const readTimeout = 700 * time.Millisecond

// section is a part of a page that comes from the server. While the server does not answer, it has
// the last state and its age.
type section[T any] struct {
	Value   T
	Has     bool      // Value is set
	At      time.Time // when Value was read
	Stale   bool      // the server did not answer now, so Value is the last state
	Waits   bool      // the first reading is not finished, so there is neither Value nor Problem
	Problem string    // why there is no new Value, for people
}

// Age returns the time since Value was read.
func (s section[T]) Age() time.Duration { return time.Since(s.At).Truncate(time.Second) }

// kept holds the last state of sections. Its views are bounded: at most a page of rows whose names
// are cut.
type kept struct {
	mu    sync.Mutex
	items map[string]keptItem
	order []string // keys, the one that was used longest ago first

	repaired time.Time // loadAtMost uses no state from before the last repair again
}

type keptItem struct {
	value any
	at    time.Time
}

// maxKept is the number of sections that a console keeps.
const maxKept = 64

func (k *kept) put(key string, value any, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.items == nil {
		k.items = make(map[string]keptItem)
	}
	k.use(key)
	k.items[key] = keptItem{value, at}
	if len(k.order) > maxKept {
		delete(k.items, k.order[0])
		k.order = slices.Delete(k.order, 0, 1)
	}
}

func (k *kept) get(key string) (keptItem, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	item, ok := k.items[key]
	if ok {
		k.use(key)
	}
	return item, ok
}

// fresh returns a state that is younger than age and than the last repair.
func (k *kept) fresh(key string, age time.Duration) (keptItem, bool) {
	item, ok := k.get(key)
	k.mu.Lock()
	defer k.mu.Unlock()
	return item, ok && time.Since(item.at) < age && item.at.After(k.repaired)
}

// repair makes all lists be read again.
func (k *kept) repair() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.repaired = time.Now()
}

// use moves a key to the end of the order.
func (k *kept) use(key string) {
	if i := slices.Index(k.order, key); i >= 0 {
		k.order = slices.Delete(k.order, i, i+1)
	}
	k.order = append(k.order, key)
}

// load reads a section within readTimeout. The key names the section and its arguments.
func load[T any](ctx context.Context, k *kept, key string, read func(ctx context.Context) (T, error)) section[T] {
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	value, err := read(within)
	if err == nil {
		s := section[T]{Value: value, Has: true, At: time.Now()}
		k.put(key, value, s.At)
		return s
	}

	s := section[T]{Problem: explain(err)}
	if !isOutage(err) {
		return s
	}
	if item, ok := k.get(key); ok {
		if last, ok := item.value.(T); ok {
			s.Value, s.Has, s.Stale, s.At = last, true, true, item.at
		}
	}
	return s
}

// loadAtMost is load, but a state that is younger than age is used again, until the next repair.
func loadAtMost[T any](ctx context.Context, k *kept, key string, age time.Duration,
	read func(ctx context.Context) (T, error)) section[T] {
	if item, ok := k.fresh(key, age); ok {
		if last, ok := item.value.(T); ok {
			return section[T]{Value: last, Has: true, At: item.at}
		}
	}
	return load(ctx, k, key, read)
}

// isOutage reports whether the server did not answer.
func isOutage(err error) bool {
	return errors.Is(err, redstart.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
