package cache

import (
	"fmt"
	"time"
)

// CallOption changes one call. It is a small value: a hit with options allocates nothing.
type CallOption struct {
	kind optionKind
	ttl  time.Duration
}

type optionKind uint8

const (
	ttlOption optionKind = iota + 1
)

// TTL replaces Options.TTL for what this call stores.
func TTL(d time.Duration) CallOption { return CallOption{kind: ttlOption, ttl: d} }

// settings are the options of a cache with those of a call over them.
type settings struct {
	ttl time.Duration
}

func (s *store) settings(opts []CallOption) (settings, error) {
	set := settings{ttl: s.opt.TTL}
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
		default:
			return fmt.Errorf("cache: a zero CallOption: use TTL")
		}
	}
	return nil
}
