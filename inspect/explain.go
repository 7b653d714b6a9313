package inspect

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/cacheview"
)

// Explanation says what a read of a key would be, and why.
type Explanation struct {
	Cache string `json:"cache"`
	Key   string `json:"key"`
	// Verdict is hit, stale, negative or miss. Stale: GetOrLoad serves the value while one caller
	// reloads it, and Get does not serve it.
	Verdict string `json:"verdict"`
	// Reason is why, and Detail names the tag or the fault.
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
	// Reader is the cache whose read was explained: "this process", "version", or "any", which
	// judges the newest entry for its own Version.
	Reader string `json:"reader"`

	Present bool     `json:"present"`
	Bytes   int64    `json:"bytes"`    // of the stored value
	TTLLeft Duration `json:"ttl_left"` // until the server removes the value
	// Entries has an entry for each Version and Codec that has stored one; at most 4.
	Entries []CacheEntry `json:"entries"`
	// Lease is load while a load of the key runs in some process, hold-down while no load may
	// store, or empty.
	Lease     string   `json:"lease,omitempty"`
	LeaseLeft Duration `json:"lease_left"`
	// LeaseHeld is how long the load has run. 0: it is not known, because this process does not
	// have the cache open and so does not know its LoadTimeout.
	LeaseHeld Duration `json:"lease_held"`
	// LastLoad is the outcome of a load in the last second that stored nothing.
	LastLoad string `json:"last_load,omitempty"`
	// Local has an element for each Cache with this name in this process.
	Local []LocalCache `json:"local"`
	// ServerTime is the server's time of the answer.
	ServerTime time.Time `json:"server_time"`
}

// CacheEntry is one stored entry.
type CacheEntry struct {
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	Detail  string `json:"detail,omitempty"`
	Codec   string `json:"codec"`
	// Version is Options.Version, if this process or the caller knows it; otherwise "". Schema is
	// its digest.
	Version string `json:"version,omitempty"`
	Schema  string `json:"schema"`
	// FreshLeft is the time until the entry is no longer fresh. It is negative afterwards.
	FreshLeft Duration `json:"fresh_left"`
	// Age is about how long ago the entry was stored. 0: it is not known, because this process does
	// not have the cache open. With another TTL for a call, or with Jitter, it is too high.
	Age        Duration   `json:"age"`
	LoadTime   Duration   `json:"load_time"` // of the load that made the value; 0 after Set
	Bytes      int64      `json:"bytes"`
	ValueBytes int64      `json:"value_bytes"` // encoded, not compressed
	Compressed bool       `json:"compressed"`
	Tags       []CacheTag `json:"tags"`
}

// CacheTag is a tag of an entry. Its State is current, invalidated, or lost: the server has no
// generation of it, after InvalidateTags or an eviction.
type CacheTag struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// LocalCache is what one Cache of this process knows of a key.
type LocalCache struct {
	Version string `json:"version"`
	Codec   string `json:"codec"`
	// Near is off, none, fresh, stale or suspect. A suspect entry is served only while the server
	// can't be reached.
	Near     string   `json:"near"`
	NearLeft Duration `json:"near_left"`
	// Pending reports that an invalidation of the key waits for its confirmation: until then, this
	// process does not read the key.
	Pending bool `json:"pending"`
	// Loading reports that callers of this process wait for a load of the key.
	Loading bool `json:"loading"`
}

// Explain says what a read of a key would be, and why. If this process has the cache open, it
// explains the read of that Cache. Otherwise it explains the read of a service with the Version and
// Codec of the newest entry. It never returns the value. It takes two round trips, and up to three
// more for a value with several Versions. It reads in steps, so a change in the meantime can show
// in one part of the answer only.
func (c *Caches) Explain(ctx context.Context, cache, key string) (Explanation, error) {
	reader, name := c.readerOf(cache, key)
	e, _, err := c.explain(ctx, cache, key, reader, name)
	return e, err
}

// ExplainVersion is [Caches.Explain] for the read of a cache with this Options.Version.
func (c *Caches) ExplainVersion(ctx context.Context, cache, key, version string) (Explanation, error) {
	e, _, err := c.explain(ctx, cache, key, cacheview.Reader{Schema: c.view.Schema(version)}, "version")
	return e, err
}

// readerOf returns the reader that Explain explains, and its name.
func (c *Caches) readerOf(cache, key string) (cacheview.Reader, string) {
	if locals := c.view.Locals(c.in.core, cache, key); len(locals) > 0 {
		return locals[0].Reader, "this process"
	}
	return cacheview.Reader{Any: true}, "any"
}

func (c *Caches) explain(ctx context.Context, cache, key string, reader cacheview.Reader, name string) (
	Explanation, *cacheview.Stored, error) {
	e := Explanation{Cache: cache, Key: key, Reader: name, Verdict: string(cacheview.Miss), Reason: string(cacheview.Absent),
		Entries: []CacheEntry{}, Local: []LocalCache{}}
	if err := checkName("cache", cache); err != nil {
		return e, nil, failure("explain", "", err)
	}
	stored, err := c.view.Read(ctx, c.in.core, cache, key, reader)
	if err != nil {
		return e, nil, failure("explain", quoted(cache)+" key "+quoted(key), err)
	}

	locals := c.view.Locals(c.in.core, cache, key)
	e.Present, e.Bytes, e.TTLLeft, e.ServerTime = stored.Present, stored.Bytes, Duration(stored.TTL), stored.Now
	e.Lease, e.LeaseLeft, e.LastLoad = stored.Lease, Duration(stored.Left), stored.Outcome
	for i := range stored.Entries {
		e.Entries = append(e.Entries, entryOf(&stored.Entries[i], stored.Now, locals))
	}
	for _, l := range locals {
		e.Local = append(e.Local, LocalCache{Version: l.Version, Codec: l.CodecName, Near: l.Near.State,
			NearLeft: Duration(l.Near.Left), Pending: l.Pending, Loading: l.Loading})
		if stored.Lease == "load" {
			e.LeaseHeld = Duration(max(l.Lease-stored.Left, 0))
		}
	}
	e.judge()
	return e, &stored, nil
}

// judge sets the verdict to that of the entry that the reader uses: the first one that is not of
// another reader.
func (e *Explanation) judge() {
	for i := range e.Entries {
		one := &e.Entries[i]
		if i == 0 || one.Reason != string(cacheview.OtherReader) {
			e.Verdict, e.Reason, e.Detail = one.Verdict, one.Reason, one.Detail
		}
		if one.Reason != string(cacheview.OtherReader) {
			return
		}
	}
}

func entryOf(v *cacheview.Entry, now time.Time, locals []cacheview.Local) CacheEntry {
	e := CacheEntry{Verdict: string(v.Verdict), Reason: string(v.Reason), Detail: v.Detail,
		LoadTime: Duration(v.Cost), Bytes: v.Bytes, ValueBytes: v.ValueBytes, Compressed: v.Compressed, Tags: []CacheTag{}}
	if v.Reason == cacheview.Unreadable {
		return e
	}
	e.Codec, e.Schema = codecName(v.Codec), hex.EncodeToString(v.Schema[:])
	if !v.Soft.IsZero() {
		e.FreshLeft = Duration(v.Soft.Sub(now))
	}
	for _, t := range v.Tags {
		e.Tags = append(e.Tags, CacheTag{t.Name, t.State})
	}
	for _, l := range locals {
		if l.Schema != v.Schema || l.Codec != v.Codec {
			continue
		}
		e.Version, e.Codec = l.Version, l.CodecName
		if !v.Soft.IsZero() && !v.Negative {
			e.Age = Duration(max(l.TTL-v.Soft.Sub(now), 0))
		}
	}
	return e
}

// codecName returns the name of a codec of package codec. The name of another codec is known only
// to the program that stored the value.
func codecName(id byte) string {
	for _, known := range []codec.Codec{codec.JSON, codec.CBOR, codec.Raw} {
		if known.ID() == id {
			return known.Name()
		}
	}
	return fmt.Sprintf("codec %d", id)
}
