package cache

import (
	"fmt"
	"math"
	"time"

	"github.com/redstart-go/redstart/codec"
)

// Defaults of the zero fields of Options.
const (
	defaultTTL           = 5 * time.Minute
	defaultJitter        = 0.1
	defaultLoadTimeout   = 10 * time.Second
	defaultMaxValueBytes = 8 << 20
	defaultNearTTL       = time.Minute
	defaultEarlyRefresh  = 1.0
	defaultCompressAbove = 4 << 10
)

// NoEarlyRefresh as Options.EarlyRefresh switches the early refresh off: an entry is reloaded after
// its TTL has ended.
const NoEarlyRefresh = -1

// NoCompression as Options.CompressAbove switches compression off.
const NoCompression = -1

// NoJitter as Options.Jitter gives every entry exactly its TTL.
const NoJitter = -1

// Options configure a [Cache]. The zero value of each field is its default.
type Options struct {
	// TTL is the time for which an entry is fresh. Default 5 min. The call option [TTL] replaces
	// it.
	TTL time.Duration
	// Jitter is the part of its TTL by which an entry may end earlier. Entries that are stored
	// together then don't end together. From 0 to 1, default 0.1; [NoJitter] for none.
	Jitter float64
	// StaleFor is the time after its TTL for which GetOrLoad serves an entry stale, while one
	// caller of all processes reloads it. Default 0. If the reload fails, the entry is still
	// served, and this process tries again after 0.1 to 0.2 s. Each further failure doubles the
	// wait, up to 5 to 10 s. Get serves no stale values.
	StaleFor time.Duration
	// SoftTimeout is the time for which a caller waits for the reload before it takes the stale
	// value. Default 0: the caller takes it at once.
	SoftTimeout time.Duration
	// EarlyRefresh reloads an entry before its TTL ends, by one caller in the background. The
	// reload starts the earlier, the longer the last load took. The value is β of XFetch (Vattani,
	// Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015).
	// Default 1; [NoEarlyRefresh] for none.
	EarlyRefresh float64
	// NegativeTTL is the time for which the cache remembers ErrNotFound of a loader (C8). Default
	// 0: it does not.
	NegativeTTL time.Duration
	// LoadTimeout ends a load: its context, and the wait for it, with [ErrLoadTimeout]. Default 10
	// s. The lease of the load (C2) lasts 10 % longer, at least 0.1 s and at most 1 s longer. A
	// crashed process delays its key by at most that time.
	LoadTimeout time.Duration
	// HoldDown is the time after a Delete in which no load may store the key. Each caller then
	// loads for itself. Use it if the loader reads from replicas, which need time to catch up. Set
	// stores at once. Default 0.
	HoldDown time.Duration
	// Near is the cache in the memory of this process, in front of the server. Default off.
	Near NearOptions
	// Version is the version of the schema of V. Entries of another version are misses (C5). In a
	// rolling deploy, a stored value holds an entry of each Version, of at most 4. Each Version
	// loads for itself (C2).
	Version string
	// Codec encodes values. Default codec.JSON. Entries of another codec are treated as those of
	// another Version.
	Codec codec.Codec
	// MaxValueBytes bounds an encoded value, before compression and after decompression. Default 8
	// MiB, at most 512 MiB. Set refuses a larger value with redstart.ErrTooLarge. GetOrLoad returns
	// it without storing it.
	MaxValueBytes int
	// CompressAbove is the encoded size in bytes above which values are compressed with s2, if that
	// saves at least an eighth. Default 4 KiB; [NoCompression] for none.
	CompressAbove int
}

// NearOptions configure the near cache (C3). It needs a server that pushes invalidations: without
// pushes it is off.
type NearOptions struct {
	// MaxEntries bounds the number of entries; 0 for no bound. If MaxBytes is 0 as well, the near
	// cache is off.
	MaxEntries int
	// MaxBytes bounds the memory of all entries together, in bytes. At least 64 KiB; 0 for no
	// bound. An entry counts with its key, its value, and about 250 bytes. If each caller gets a
	// fresh decode, the value counts as it is encoded. Otherwise it counts with all memory that its
	// pointers, slices, maps and strings keep. With MaxEntries as well, both bounds hold. An entry
	// above an eighth of MaxBytes is not kept, and is counted in Stats.NearTooLarge.
	MaxBytes int64
	// TTL bounds the time for which an entry is kept. It therefore bounds its staleness in every
	// case. Default 1 min.
	TTL time.Duration
	// Shared promises that callers don't modify the values that they get. Then all callers get the
	// same value. Without it, a V with pointers, slices, maps or interfaces is copied for each
	// caller: by its Clone method if it has one, else by a fresh decode.
	Shared bool
}

func (o NearOptions) on() bool { return o.MaxEntries > 0 || o.MaxBytes > 0 }

// maxKeyBytes bounds the key of an entry.
const maxKeyBytes = 1024

// maxTTL keeps sums of durations within the range of the server.
const maxTTL = 10 * 365 * 24 * time.Hour

func (o Options) withDefaults() (Options, error) {
	if err := o.durations(); err != nil {
		return o, err
	}
	switch {
	case o.Jitter == 0:
		o.Jitter = defaultJitter
	case o.Jitter == NoJitter:
		o.Jitter = 0
	case o.Jitter < 0 || o.Jitter > 1 || math.IsNaN(o.Jitter):
		return o, fmt.Errorf("cache: Options.Jitter is %v: must be from 0 to 1, or NoJitter", o.Jitter)
	}
	switch {
	case o.EarlyRefresh == 0:
		o.EarlyRefresh = defaultEarlyRefresh
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
		o.CompressAbove = defaultCompressAbove
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
		o.MaxValueBytes = defaultMaxValueBytes
	case o.MaxValueBytes < 0 || o.MaxValueBytes > 512<<20:
		return o, fmt.Errorf("cache: Options.MaxValueBytes is %d: must be from 1 to 512 MiB, the server's limit", o.MaxValueBytes)
	}
	return o, nil
}

// durations sets defaults of the durations and checks them.
func (o *Options) durations() error {
	for _, f := range []struct {
		name  string
		value *time.Duration
		or    time.Duration
	}{
		{"TTL", &o.TTL, defaultTTL},
		{"StaleFor", &o.StaleFor, 0},
		{"SoftTimeout", &o.SoftTimeout, 0},
		{"NegativeTTL", &o.NegativeTTL, 0},
		{"LoadTimeout", &o.LoadTimeout, defaultLoadTimeout},
		{"HoldDown", &o.HoldDown, 0},
		{"Near.TTL", &o.Near.TTL, defaultNearTTL},
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
