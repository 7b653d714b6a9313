// Package cacheview describes what a cache keeps on the server, for package inspect.
//
// Package cache owns the formats and the rules of validity. It registers its functions here when it
// is initialized, so that its public API stays free of methods that only tools need. Only packages
// of this repository can import this package.
package cacheview

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// Verdict is what a read of a key would be.
type Verdict string

// The verdicts.
const (
	Hit      Verdict = "hit"
	Stale    Verdict = "stale"    // GetOrLoad serves the value while one caller reloads it; Get does not serve it
	Negative Verdict = "negative" // the cache remembers that the source has no value
	Miss     Verdict = "miss"
)

// Reason is why a read would have its verdict.
type Reason string

// The reasons.
const (
	Fresh       Reason = "fresh"
	Remembered  Reason = "not found in the source"
	Absent      Reason = "nothing is stored"
	Unreadable  Reason = "not an entry of this release"
	OtherReader Reason = "an entry of another Version or Codec"
	Cleared     Reason = "the cache was cleared"
	Invalidated Reason = "a tag was invalidated"
	Expired     Reason = "Expire ended it"
	PastTTL     Reason = "past its TTL"
)

// Reader selects the entries that a cache uses.
type Reader struct {
	Any      bool // the reader is not known: each entry is judged for its own reader
	Codec    byte // 0: any codec
	Schema   [8]byte
	StaleFor time.Duration
}

// Tag is a tag of an entry.
type Tag struct {
	Name string
	// State is "current", "invalidated", or "lost": the server has no generation of the tag. After
	// both, the entry is a miss.
	State string
}

// Entry is one stored entry. Its strings may hold any bytes.
type Entry struct {
	Verdict Verdict
	Reason  Reason
	Detail  string // what is wrong with an unreadable entry; the tag that was invalidated

	Codec                byte
	Schema               [8]byte
	Soft                 time.Time // end of freshness; zero after Expire
	Cost                 time.Duration
	Bytes                int64 // of the entry
	ValueBytes           int64 // of the encoded value, before compression
	Compressed, Negative bool
	Tags                 []Tag

	begin, size int64 // of the payload in the stored value
}

// Payload returns where the stored payload of the entry is.
func (e *Entry) Payload() (begin, size int64) { return e.begin, e.size }

// SetPayload is for package cache.
func (e *Entry) SetPayload(begin, size int64) { e.begin, e.size = begin, size }

// Stored is what the server has for a key.
type Stored struct {
	Present bool
	Bytes   int64
	TTL     time.Duration // rest of the key's TTL; negative: the key has none
	Entries []Entry
	Lease   string        // "" for none, "load" while a load runs, "hold-down" after Delete or Expire
	Left    time.Duration // rest of the lease
	Outcome string        // of the last load that stored nothing; "" for none
	Now     time.Time     // by the server's clock
}

// Near is the state of a key in the near cache of one Cache of this process.
type Near struct {
	State string // "off", "none", "fresh", "stale" or "suspect"
	Left  time.Duration
}

// Local is what a Cache in this process knows of a key.
type Local struct {
	Reader
	Version              string
	CodecName            string
	TTL, Lease, HoldDown time.Duration // Options; Lease is how long a lease lasts at first
	Near                 Near
	Pending              bool // an invalidation of the key waits for its confirmation
	Loading              bool
}

// Functions are what package cache registers.
type Functions struct {
	// Read reads what the server has for a key, and judges it for a reader: two or three round
	// trips. It reads at most 64 KiB. It writes nothing.
	Read func(ctx context.Context, c *core.Core, name, key string, reader Reader) (Stored, error)
	// Value reads and decompresses the payload of an entry that Read returned. A payload above
	// limit is an error of the class ErrTooLarge.
	Value func(ctx context.Context, c *core.Core, name, key string, e *Entry, limit int64) (string, error)
	// Locals returns the Caches with a name in this process, and what they know of a key.
	Locals func(c *core.Core, name, key string) []Local
	// Schema returns the digest of Options.Version.
	Schema func(version string) [8]byte
	// IsEntry reports whether a key of the cache's space holds a value, and no lease or generation.
	IsEntry func(suffix string, sibling bool) bool
}

var registered Functions

// Register sets the functions. Only package cache calls it, in a variable declaration, and the
// result is of no use.
func Register(f Functions) struct{} {
	if registered.Read != nil {
		panic("cacheview: registered twice")
	}
	registered = f
	return struct{}{}
}

// Of returns the functions of package cache, which the caller's program must import.
func Of() Functions { return registered }
