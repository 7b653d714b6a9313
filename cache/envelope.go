package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"time"
)

// An entry on the server is a header and the encoded value:
//
//	 0  format version
//	 1  flags
//	 2  codec id
//	 3  number of tags
//	 4  id, 8 random bytes: no two entries share it
//	12  schema, 8 bytes of the SHA-256 of Options.Version
//	20  soft expiry, ms since 1970 by the server's clock; 0 after Expire
//	28  cost of the load in ms
//	32  generation of the whole cache
//	40  tags, each: length (1 byte), name, generation (8 bytes)
//	    value
//
// Numbers are big-endian.
const (
	format     = 1
	headerSize = 40
	headSize   = 12 // identifies an entry: see ask.seen
)

const (
	flagNegative = 1 << iota // the source has no value; the payload is empty
	flagCompressed
	flagStale  // kept after its soft expiry, to be served stale
	knownFlags = flagNegative | flagCompressed | flagStale
)

// header is the decoded header.
type header struct {
	flags  byte
	codec  byte
	schema [8]byte
	soft   int64
	cost   uint32
	clear  generationID
	tags   []tagged
}

// tagged is a tag, and the generation of it under which an entry is valid.
type tagged struct {
	name string
	id   generationID
}

// generationID is the random id of one generation of a tag or of the whole cache.
type generationID [8]byte

func schemaOf(version string) (schema [8]byte) {
	sum := sha256.Sum256([]byte(version))
	copy(schema[:], sum[:])
	return schema
}

// seal appends the header. The codec appends the value.
func (h *header) seal(dst []byte) []byte {
	dst = append(dst, format, h.flags, h.codec, byte(len(h.tags)))
	dst = binary.BigEndian.AppendUint64(dst, rand.Uint64())
	dst = append(dst, h.schema[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.soft))
	dst = binary.BigEndian.AppendUint32(dst, h.cost)
	dst = append(dst, h.clear[:]...)
	for i := range h.tags {
		dst = append(dst, byte(len(h.tags[i].name)))
		dst = append(dst, h.tags[i].name...)
		dst = append(dst, h.tags[i].id[:]...)
	}
	return dst
}

// Errors of entries that can't be used: all are misses (C5).
var (
	errFormat = errors.New("another format")
	errShort  = errors.New("too short")
	errFlags  = errors.New("unknown flags")

	errVersion = errors.New("another version or codec")
	errOver    = errors.New("past its TTL") // an entry of a value that other entries keep alive
)

// open decodes the header. The payload is a part of data.
func (h *header) open(data string) (payload string, err error) {
	if len(data) == 0 || data[0] != format {
		return "", errFormat
	}
	if len(data) < headerSize {
		return "", errShort
	}
	h.flags, h.codec = data[1], data[2]
	if h.flags&^knownFlags != 0 || data[3] > maxTags {
		return "", errFlags
	}
	copy(h.schema[:], data[12:])
	h.soft = int64(beUint64(data[20:]))
	h.cost = uint32(beUint64(data[24:]))
	copy(h.clear[:], data[32:])
	return h.openTags(data[headerSize:], int(data[3]))
}

func (h *header) openTags(rest string, n int) (payload string, err error) {
	if n > 0 {
		h.tags = make([]tagged, n)
	}
	for i := range h.tags {
		if len(rest) == 0 || rest[0] == 0 || len(rest) < 1+int(rest[0])+len(generationID{}) {
			return "", errShort
		}
		size := 1 + int(rest[0])
		h.tags[i].name = rest[1:size]
		copy(h.tags[i].id[:], rest[size:])
		rest = rest[size+len(generationID{}):]
	}
	return rest, nil
}

func beUint64(s string) uint64 {
	_ = s[7]
	return uint64(s[7]) | uint64(s[6])<<8 | uint64(s[5])<<16 | uint64(s[4])<<24 |
		uint64(s[3])<<32 | uint64(s[2])<<40 | uint64(s[1])<<48 | uint64(s[0])<<56
}

// head returns the part of an entry that identifies it.
func head(data string) string { return data[:min(len(data), headSize)] }

// headerSizeOf returns the length of the header in bytes.
func headerSizeOf(h *header) int {
	size := headerSize
	for i := range h.tags {
		size += 1 + len(h.tags[i].name) + len(generationID{})
	}
	return size
}

// costOf rounds the duration of a load to ms, as the header holds it.
func costOf(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), 1<<32-1))
}
