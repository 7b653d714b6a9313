package cache

import (
	"fmt"
	"math"
	"time"

	"github.com/redstart-go/redstart/codec"
)

// Defaults of Options' zero fields.
const (
	DefaultTTL           = 5 * time.Minute
	DefaultJitter        = 0.1
	DefaultLoadTimeout   = 10 * time.Second
	DefaultMaxValueBytes = 8 << 20
)

// NoJitter is a Jitter of none: every entry lives for exactly its TTL.
const NoJitter = -1

// Options configure a Cache. The zero Options is a good default.
type Options struct {
	// TTL is how long an entry is fresh; default 5 min. TTL, the option of a call, replaces it.
	TTL time.Duration
	// Jitter is the part of its TTL by which an entry may end earlier, so that entries stored together
	// don't end together; at most 1, default 0.1, NoJitter for none.
	Jitter float64
	// NegativeTTL is how long ErrNotFound from a loader is remembered (C8); 0 does not remember it.
	NegativeTTL time.Duration
	// LoadTimeout ends a load: its context, and the wait for it, with ErrLoadTimeout. It is also the lease
	// under which the load runs (C2): a crashed loader delays its key by at most this. Default 10 s.
	LoadTimeout time.Duration
	// HoldDown is how long after a Delete no load may store the key: loads go on, and each is its callers'
	// alone, until replicas that the loader reads have caught up. Set stores at once. Default 0.
	HoldDown time.Duration
	// Version is the schema version of V. Entries of another version are misses (C5).
	Version string
	// Codec encodes values; default codec.JSON. Entries of another codec are misses (C5).
	Codec codec.Codec
	// MaxValueBytes bounds an encoded value, before compression and after decompression; default 8 MiB. Set
	// refuses a larger one with redstart.ErrTooLarge; GetOrLoad returns it without storing it.
	MaxValueBytes int
}

// maxKeyBytes bounds what the user calls an entry.
const maxKeyBytes = 1024

// maxTTL keeps sums of times within what the server takes.
const maxTTL = 10 * 365 * 24 * time.Hour

func (o Options) withDefaults() (Options, error) {
	for _, f := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"TTL", &o.TTL, DefaultTTL},
		{"NegativeTTL", &o.NegativeTTL, 0},
		{"LoadTimeout", &o.LoadTimeout, DefaultLoadTimeout},
		{"HoldDown", &o.HoldDown, 0},
	} {
		switch {
		case *f.value == 0:
			*f.value = f.or
		case *f.value < 0:
			return o, fmt.Errorf("cache: Options.%s is %v: must not be negative", f.name, *f.value)
		case *f.value < time.Millisecond:
			return o, fmt.Errorf("cache: Options.%s is %v: must be at least 1ms, the server's resolution", f.name, *f.value)
		case *f.value > maxTTL:
			return o, fmt.Errorf("cache: Options.%s is %v: must be at most %v", f.name, *f.value, maxTTL)
		}
	}
	switch {
	case o.Jitter == 0:
		o.Jitter = DefaultJitter
	case o.Jitter == NoJitter:
		o.Jitter = 0
	case o.Jitter < 0 || o.Jitter > 1 || math.IsNaN(o.Jitter):
		return o, fmt.Errorf("cache: Options.Jitter is %v: must be from 0 to 1, or NoJitter", o.Jitter)
	}
	if o.Codec == nil {
		o.Codec = codec.JSON
	}
	switch {
	case o.MaxValueBytes == 0:
		o.MaxValueBytes = DefaultMaxValueBytes
	case o.MaxValueBytes < 0 || o.MaxValueBytes > 512<<20:
		return o, fmt.Errorf("cache: Options.MaxValueBytes is %d: must be from 1 to 512 MiB, the server's limit", o.MaxValueBytes)
	}
	return o, nil
}
