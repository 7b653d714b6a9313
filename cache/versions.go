package cache

import (
	"encoding/binary"
	"iter"
	"math/rand/v2"
	"strings"
	"time"
)

// In a rolling deploy, processes of two Versions or Codecs share a cache. A stored value then holds
// an entry of each, so that they don't replace each other's entries (C2). One DEL of the one key
// ends both (C1):
//
//	 0  format of several entries
//	 1  three zero bytes
//	 4  id, 8 random bytes
//	12  eight zero bytes
//	20  1, or 0 after Expire; an entry has its soft expiry here (8 bytes)
//	28  entries, each: length (4 bytes), entry
//
// Numbers are big-endian.
//
// The load that stores composes the value. It has read the old value under its lease, and each
// change of the value removes the lease:
//
//	A  lease ── value: entry of B ── load ── fill: entries of A and B
//	B               Delete, Set, Expire: the lease is gone, the fill is refused
//
// The scripts therefore store one value. Its entries share the TTL of the key, which is the longest
// TTL of the entries. A reader compares the soft expiry of its own entry with the
// clock.
const several = 2

const (
	// maxVersions bounds the entries of one value. One more replaces the entry that was stored the
	// longest time ago.
	maxVersions = 4
	severalSize = 28 // before the entries
	lengthSize  = 4
)

// entriesOf yields the entries of a stored value, up to the first one that is cut off.
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

// openOwn opens the entry of this Version and Codec in a stored value.
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
			// the value may share its memory, and must not keep the other entries: see unmarshalOwn
			return h, strings.Clone(payload), err
		}
	}
	if err == nil {
		err = errVersion
	}
	return h, "", err
}

// allExpired reports whether Expire has ended the entries of a value with several.
func allExpired(data string) bool {
	return data[0] == several && beUint64(data[severalSize-8:]) == expired
}

// owns reports whether an entry has this cache's Version and Codec.
func (s *store) owns(h *header) bool { return h.codec == s.opt.Codec.ID() && h.schema == s.schema }

// left returns how long an entry of a value with several may be used: its TTL and, if it may be
// served stale, this cache's StaleFor.
func (s *store) left(h *header) time.Duration {
	left := time.Duration(h.soft-s.serverNow()) * time.Millisecond
	if h.flags&flagStale != 0 {
		left += s.opt.StaleFor
	}
	return left
}

func (s *store) over(h *header) bool { return s.left(h) <= 0 }

// others returns the entries of other Versions and Codecs that a load keeps.
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

// addOthers adds the entries of other Versions to an entry that is about to be stored.
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
