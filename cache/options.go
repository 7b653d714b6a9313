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
	DefaultNearTTL       = time.Minute
	DefaultEarlyRefresh  = 1.0
	DefaultCompressAbove = 4 << 10
)

// NoEarlyRefresh is an EarlyRefresh of none: entries are reloaded when they have ended.
const NoEarlyRefresh = -1

// NoCompression is a CompressAbove that compresses nothing.
const NoCompression = -1

// NoJitter is a Jitter of none: every entry lives for exactly its TTL.
const NoJitter = -1

// Options configure a Cache. The zero Options is a good default.
type Options struct {
	// TTL is how long an entry is fresh; default 5 min. TTL, the option of a call, replaces it.
	TTL time.Duration
	// Jitter is the part of its TTL by which an entry may end earlier, so that entries stored together
	// don't end together; at most 1, default 0.1, NoJitter for none.
	Jitter float64
	// StaleFor is how long after its TTL an entry is served stale while one caller of all processes reloads
	// it, and when that load fails: then this process tries the key again after 0.1 to 0.2 s, twice as long after each
	// further failure, up to 5 to 10 s. Get does not serve stale. Default 0.
	StaleFor time.Duration
	// SoftTimeout is how long a caller waits for the reload before it takes the stale value; default 0, at once.
	SoftTimeout time.Duration
	// EarlyRefresh reloads an entry shortly before its TTL ends, by one caller in the background, the earlier the
	// longer its load took: the β of XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache
	// Stampede Prevention, VLDB 2015). Default 1, NoEarlyRefresh for none.
	EarlyRefresh float64
	// NegativeTTL is how long ErrNotFound from a loader is remembered (C8); 0 does not remember it.
	NegativeTTL time.Duration
	// LoadTimeout ends a load: its context, and the wait for it, with ErrLoadTimeout. The lease under which the load runs (C2)
	// lasts 10 % longer, at least 0.1 s and at most 1 s: a crashed loader delays its key by at most that. Default 10 s.
	LoadTimeout time.Duration
	// HoldDown is how long after a Delete no load may store the key: loads go on, and each is its callers'
	// alone, until replicas that the loader reads have caught up. Set stores at once. Default 0.
	HoldDown time.Duration
	// Near is the cache in this process' memory, in front of the server's; default none.
	Near NearOptions
	// Version is the schema version of V. Entries of another version are misses (C5). While processes of several Versions run, as in a
	// rolling deploy, a stored value holds an entry of each, of at most 4 Versions, and each Version loads for itself (C2).
	Version string
	// Codec encodes values; default codec.JSON. Entries of another codec are misses, and kept, as those of another Version are.
	Codec codec.Codec
	// MaxValueBytes bounds an encoded value, before compression and after decompression; default 8 MiB. Set
	// refuses a larger one with redstart.ErrTooLarge; GetOrLoad returns it without storing it.
	MaxValueBytes int
	// CompressAbove is the encoded size above which values are compressed (S2), where that makes them smaller
	// by an eighth at least; default 4 KiB, NoCompression for none.
	CompressAbove int
}

// NearOptions configure the near cache (C3). It needs a server that pushes invalidations; without them
// it is off.
type NearOptions struct {
	// MaxEntries is how many entries are kept; 0 for no bound. The near cache is off if MaxBytes is 0 as well.
	MaxEntries int
	// MaxBytes bounds the memory of the entries together, at least 64 KiB; 0 for no bound. An entry counts with its key, its
	// value, and about 250 bytes. The value counts as it is kept: encoded, where each caller gets a fresh decode; decoded
	// otherwise, with the memory behind its pointers, slices, maps and strings. Entries are evicted in the order of MaxEntries. With both
	// bounds an entry counts at least MaxBytes/MaxEntries. One that counts more than an eighth of MaxBytes is not kept, and
	// counted in Stats.NearTooLarge.
	MaxBytes int64
	// TTL bounds how long an entry is kept, and so its staleness, whatever happens; default 1 min.
	TTL time.Duration
	// Shared promises that callers don't modify what they get. Then it is shared even if V has pointers,
	// slices, maps or interfaces; else each caller gets a Clone, if V has that method, or a fresh decode.
	Shared bool
}

func (o NearOptions) on() bool { return o.MaxEntries > 0 || o.MaxBytes > 0 }

// maxKeyBytes bounds what the user calls an entry.
const maxKeyBytes = 1024

// maxTTL keeps sums of times within what the server takes.
const maxTTL = 10 * 365 * 24 * time.Hour

func (o Options) withDefaults() (Options, error) {
	if err := o.durations(); err != nil {
		return o, err
	}
	switch {
	case o.Jitter == 0:
		o.Jitter = DefaultJitter
	case o.Jitter == NoJitter:
		o.Jitter = 0
	case o.Jitter < 0 || o.Jitter > 1 || math.IsNaN(o.Jitter):
		return o, fmt.Errorf("cache: Options.Jitter is %v: must be from 0 to 1, or NoJitter", o.Jitter)
	}
	switch {
	case o.EarlyRefresh == 0:
		o.EarlyRefresh = DefaultEarlyRefresh
	case o.EarlyRefresh == NoEarlyRefresh:
		o.EarlyRefresh = 0
	case o.EarlyRefresh < 0 || o.EarlyRefresh > 100 || math.IsNaN(o.EarlyRefresh):
		return o, fmt.Errorf("cache: Options.EarlyRefresh is %v: must be from 0 to 100, or NoEarlyRefresh", o.EarlyRefresh)
	}
	if o.Near.MaxEntries < 0 {
		return o, fmt.Errorf("cache: Options.Near.MaxEntries is %d: must not be negative", o.Near.MaxEntries)
	}
	if b := o.Near.MaxBytes; b != 0 && b < minNearBytes {
		return o, fmt.Errorf("cache: Options.Near.MaxBytes is %d: must be 0, or at least %d", b, minNearBytes)
	}
	switch {
	case o.CompressAbove == 0:
		o.CompressAbove = DefaultCompressAbove
	case o.CompressAbove == NoCompression:
		o.CompressAbove = math.MaxInt
	case o.CompressAbove < 0:
		return o, fmt.Errorf("cache: Options.CompressAbove is %d: must be positive, or NoCompression", o.CompressAbove)
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

// durations sets and checks the durations.
func (o *Options) durations() error {
	for _, f := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"TTL", &o.TTL, DefaultTTL},
		{"StaleFor", &o.StaleFor, 0},
		{"SoftTimeout", &o.SoftTimeout, 0},
		{"NegativeTTL", &o.NegativeTTL, 0},
		{"LoadTimeout", &o.LoadTimeout, DefaultLoadTimeout},
		{"HoldDown", &o.HoldDown, 0},
		{"Near.TTL", &o.Near.TTL, DefaultNearTTL},
	} {
		switch {
		case *f.value == 0:
			*f.value = f.or
		case *f.value < 0:
			return fmt.Errorf("cache: Options.%s is %v: must not be negative", f.name, *f.value)
		case *f.value < time.Millisecond:
			return fmt.Errorf("cache: Options.%s is %v: must be at least 1ms, the server's resolution", f.name, *f.value)
		case *f.value > maxTTL:
			return fmt.Errorf("cache: Options.%s is %v: must be at most %v", f.name, *f.value, maxTTL)
		}
	}
	return nil
}
