package cache

import (
	"encoding/binary"
	"iter"
	"math/rand/v2"
	"strings"
	"time"
)

// In a rolling deploy, processes of two Versions, or Codecs, share a cache. A stored value then holds an entry of each, so that they don't
// replace each other's entries (C2), and one DEL of the one key ends both (C1):
//
//	 0  format of several entries
//	 1  three zero bytes
//	 4  id, 8 random bytes
//	12  eight zero bytes
//	20  1, or 0 after Expire: where an entry has its soft expiry (8 bytes)
//	28  entries, each: length (4 bytes), entry
//
// Numbers are big-endian.
//
// The load that stores composes the value. It has read the old value under its lease, and each change of the value takes the lease away:
//
//	A  lease ── value: entry of B ── load ── fill: entries of A and B
//	B               Delete, Set, Expire: the lease is gone, the fill is refused
//
// So the scripts store one value, whatever it holds. The entries share the key's TTL, which is the longest of theirs: a reader compares
// the soft expiry of its own entry with the clock.
const several = 2

const (
	// maxVersions bounds the entries of one value. Past it, the one that was stored the longest time ago is dropped.
	maxVersions = 4
	severalSize = 28 // before the entries
	lengthSize  = 4
)

// entriesOf yields the entries of a stored value, up to the first that is cut off.
func entriesOf(data string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if len(data) == 0 || data[0] != several {
			yield(data)
			return
		}
		for rest := data[min(len(data), severalSize):]; len(rest) > lengthSize; {
			size := int(binary.BigEndian.Uint32(bytesOf(rest[:lengthSize])))
			if rest = rest[lengthSize:]; size > len(rest) || !yield(rest[:size]) {
				return
			}
			rest = rest[size:]
		}
	}
}

// openOwn takes apart the entry of this Version and Codec in a stored value.
func (s *store) openOwn(data string) (h header, payload string, err error) {
	err = errFormat
	for entry := range entriesOf(data) {
		h = header{}
		if payload, err = h.open(entry); err == nil && s.owns(&h) {
			if data[0] != several {
				return h, payload, nil
			}
			if allExpired(data) {
				h.soft = expired
			} else if s.over(&h) {
				err = errOver
			}
			return h, strings.Clone(payload), err // the value may be made of it, and must not keep the others: see unmarshalOwn
		}
	}
	if err == nil {
		err = errVersion
	}
	return h, "", err
}

// allExpired reports whether Expire has ended the entries of a value that holds several.
func allExpired(data string) bool {
	return data[0] == several && beUint64(data[severalSize-8:]) == expired
}

// owns reports whether an entry is of this cache's Version and Codec.
func (s *store) owns(h *header) bool { return h.codec == s.opt.Codec.ID() && h.schema == s.schema }

// left is how long an entry of a value that holds several may be used: for its TTL and, if it may be served stale, for our StaleFor.
func (s *store) left(h *header) time.Duration {
	left := time.Duration(h.soft-s.serverNow()) * time.Millisecond
	if h.flags&flagStale != 0 {
		left += s.opt.StaleFor
	}
	return left
}

func (s *store) over(h *header) bool { return s.left(h) <= 0 }

// others returns the entries of other Versions and Codecs in a stored value that a load keeps.
func (s *store) others(data string) (others []string) {
	if len(data) < headerSize || allExpired(data) {
		return nil
	}
	bytes := 0
	for entry := range entriesOf(data) {
		var h header
		if _, err := h.open(entry); err != nil || s.owns(&h) || s.over(&h) {
			continue
		}
		if bytes += len(entry); bytes > s.opt.MaxValueBytes || len(others) == maxVersions-1 {
			break
		}
		others = append(others, entry)
	}
	return others
}

// addOthers makes of an entry, which is about to be stored, a value that also holds the entries of other Versions.
func (s *store) addOthers(e *sealed, others []string) {
	if len(others) == 0 {
		return
	}
	size := severalSize + lengthSize + len(e.data)
	for _, other := range others {
		size += lengthSize + len(other)
	}
	buf := append(make([]byte, 0, size), several, 0, 0, 0)
	buf = binary.BigEndian.AppendUint64(buf, rand.Uint64())
	buf = binary.BigEndian.AppendUint64(buf, 0)
	buf = binary.BigEndian.AppendUint64(buf, 1)
	add := func(entry string) {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(entry)))
		buf = append(buf, entry...)
	}
	add(e.data)
	for _, other := range others {
		var h header
		if _, err := h.open(other); err != nil || h.clear != e.header.clear {
			continue // invalidated by a Clear
		}
		add(other)
		e.ttl = max(e.ttl, s.left(&h))
	}
	e.data = textOf(buf)
}
