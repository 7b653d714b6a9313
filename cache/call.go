package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// CallOption changes one call. It is passed by value: a hit with options allocates nothing.
type CallOption struct {
	kind optionKind
	ttl  time.Duration
	tags []string
	from *Source
}

type optionKind uint8

const (
	ttlOption optionKind = iota + 1
	tagsOption
	fromOption
	staleForOption
	negativeTTLOption
	dontStoreOption
	detachOption
)

// TTL replaces Options.TTL for the values that this call stores.
func TTL(d time.Duration) CallOption { return CallOption{kind: ttlOption, ttl: d} }

// Tags attaches tags to the values that this call stores: [Cache.InvalidateTags] ends them. An
// entry has at most 32 tags, of 1 to 255 bytes each. The server keeps one small key per tag, for
// about twice the TTL of the entry and at least an hour.
func Tags(tags ...string) CallOption { return CallOption{kind: tagsOption, tags: tags} }

const maxTags = 32

// StaleFor replaces Options.StaleFor for the values that this call stores.
func StaleFor(d time.Duration) CallOption { return CallOption{kind: staleForOption, ttl: d} }

// NegativeTTL replaces Options.NegativeTTL for this call. With 0, ErrNotFound is not remembered.
func NegativeTTL(d time.Duration) CallOption { return CallOption{kind: negativeTTLOption, ttl: d} }

// DontStore returns the loaded value to its callers and stores nothing. Callers of other processes
// that waited for the load then load for themselves.
func DontStore() CallOption { return CallOption{kind: dontStoreOption} }

// Detach lets the load continue after its last caller has left, for at most LoadTimeout. The result
// is stored. Without Detach, the context of a load ends with its last caller (C9). In [Adjust] it
// has no effect.
func Detach() CallOption { return CallOption{kind: detachOption} }

// Adjust changes how the value is stored that a loader is loading. A loader calls it with its
// context. Tags are added to those of the call, and the other options replace those of the call. An
// invalid option is the error of the load. Outside of a loader, Adjust has no effect. In a
// [BatchLoader] it concerns all values of the batch.
//
// Tags that only Adjust names cost two more round trips. The value is not stored if an
// InvalidateTags of any tag of this cache runs during the load.
func Adjust(ctx context.Context, opts ...CallOption) {
	if a := adjusting(ctx); a != nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.opts = append(a.opts, opts...)
	}
}

type adjustmentKey struct{}

// adjustment is the context of a load. It collects the options of Adjust.
type adjustment struct {
	context.Context
	cache any // the cache and the keys of the load: see ownKey
	keys  []string
	ended atomic.Bool
	mu    sync.Mutex
	opts  []CallOption
}

func (a *adjustment) in(ctx context.Context, cache any, keys []string) *adjustment {
	a.Context, a.cache, a.keys = ctx, cache, keys
	return a
}

// adjusting returns the load to which ctx belongs, or nil.
func adjusting(ctx context.Context) *adjustment {
	a, _ := ctx.Value(adjustmentKey{}).(*adjustment)
	return a
}

func (a *adjustment) Value(key any) any {
	if key == (adjustmentKey{}) {
		return a
	}
	return a.Context.Value(key)
}

func (a *adjustment) apply(set *settings) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := set.apply(a.opts); err != nil {
		return fmt.Errorf("cache: Adjust: %s", strings.TrimPrefix(err.Error(), "cache: "))
	}
	return nil
}

// settings are the options of the cache, changed by those of a call.
type settings struct {
	ttl, staleFor, negativeTTL time.Duration
	tags                       []string // without duplicates
	dontStore, detached        bool
}

func (s *store) settings(opts []CallOption) (settings, error) {
	set := settings{ttl: s.opt.TTL, staleFor: s.opt.StaleFor, negativeTTL: s.opt.NegativeTTL}
	return set, set.apply(opts)
}

func (set *settings) apply(opts []CallOption) error {
	for i := range opts {
		switch o := &opts[i]; o.kind {
		case ttlOption:
			if o.ttl < time.Millisecond || o.ttl > maxTTL {
				return fmt.Errorf("cache: TTL(%v): must be from 1ms to %v", o.ttl, maxTTL)
			}
			set.ttl = o.ttl
		case tagsOption:
			if err := checkTags(o.tags); err != nil {
				return fmt.Errorf("cache: Tags: %w", err)
			}
			for _, tag := range o.tags {
				if !slices.Contains(set.tags, tag) {
					set.tags = append(set.tags, tag)
				}
			}
			if len(set.tags) > maxTags {
				return fmt.Errorf("cache: Tags: an entry has %d: at most %d", len(set.tags), maxTags)
			}
		case staleForOption, negativeTTLOption:
			name, field := "StaleFor", &set.staleFor
			if o.kind == negativeTTLOption {
				name, field = "NegativeTTL", &set.negativeTTL
			}
			if o.ttl != 0 && o.ttl < time.Millisecond || o.ttl > maxTTL {
				return fmt.Errorf("cache: %s(%v): must be 0, or from 1ms to %v", name, o.ttl, maxTTL)
			}
			*field = o.ttl
		case dontStoreOption:
			set.dontStore = true
		case detachOption:
			set.detached = true
		case fromOption: // see writeSource
		default:
			return errors.New("cache: the CallOption is zero: use TTL, Tags, StaleFor, NegativeTTL, DontStore, Detach or From")
		}
	}
	return nil
}

func checkTags(tags []string) error {
	for _, tag := range tags {
		if tag == "" || len(tag) > 255 {
			return fmt.Errorf("a tag of %d bytes: must be from 1 to 255", len(tag))
		}
	}
	return nil
}
