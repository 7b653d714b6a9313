package cache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
	"unsafe"

	"github.com/klauspost/compress/s2"

	"github.com/redstart-go/redstart/codec"
	"github.com/redstart-go/redstart/internal/fault"
)

// sealed is an encoded entry.
type sealed struct {
	header  header
	data    string        // the stored bytes
	payload string        // the bytes of the codec
	buffer  []byte        // the memory of payload: see recycle
	ttl     time.Duration // on the server
}

// encode encodes a value as an entry. With reuse, a long entry gets memory that recycle has kept.
func (c *Cache[V]) encode(value *V, set *settings, st *stamps, cost time.Duration, reuse bool) (sealed, error) {
	e := c.sealed(c.jitter(set.ttl), set.staleFor, st)
	e.header.cost = costOf(cost)
	expected := c.entrySize.Load()
	room := max(minEntry, expected)
	if c.opt.Codec == codec.Raw {
		switch v := any(value).(type) {
		case *[]byte:
			room = int64(headerSizeOf(&e.header) + len(*v))
		case *string:
			room = int64(headerSizeOf(&e.header) + len(*v))
		}
	}
	buf, err := c.append(e.header.seal(c.buffer(room, reuse)), value)
	if err != nil {
		return e, err
	}
	if n := int64(len(buf)); n > expected || n < expected/2 {
		c.entrySize.Store(min(n+n/8, maxExpected))
	}
	size := headerSizeOf(&e.header)
	payload := buf[size:]
	if len(payload) > c.opt.MaxValueBytes {
		return e, fault.New(fault.ErrTooLarge, fmt.Errorf("the value has %d bytes encoded", len(payload)),
			fmt.Sprintf("at most %d: raise Options.MaxValueBytes, or store less", c.opt.MaxValueBytes))
	}
	e.payload, e.buffer = textOf(payload), buf
	if len(payload) > c.opt.CompressAbove {
		buf = c.compressed(buf, size)
	}
	e.data = textOf(buf)
	return e, nil
}

// longBuffer is the size in bytes from which Set uses the memory of an entry again.
const longBuffer = 4 << 10

// buffer returns memory for an entry of about room bytes.
func (s *store) buffer(room int64, reuse bool) []byte {
	if reuse && room >= longBuffer {
		if b, _ := s.buffers.Get().(*[]byte); b != nil {
			return *b
		}
	}
	return make([]byte, 0, room)
}

// recycle keeps the memory of a long entry for the next Set: to allocate 1 MiB takes longer than to
// send it. The server must have answered. Before the answer, the connection may still write these
// bytes, also after the call has ended:
//
//	Set(a)   sent in part ── deadline ──────────────────── rest of a: its memory must not change
//	Set(b)                              other memory
func (s *store) recycle(e *sealed) {
	if n := cap(e.buffer); n >= longBuffer && n <= maxScratch {
		b := e.buffer[:0]
		s.buffers.Put(&b)
	}
}

// compressed returns an entry with its payload compressed, or the entry itself if that saves less
// than an eighth. The compressor writes into a reused buffer: a value that does not get smaller,
// such as an image, costs no allocation of its size.
func (s *store) compressed(entry []byte, header int) []byte {
	payload := entry[header:]
	scratch, _ := s.scratch.Get().(*[]byte)
	if most := s2.MaxEncodedLen(len(payload)); scratch == nil || len(*scratch) < most {
		b := make([]byte, most)
		scratch = &b
	}
	small := s2.Encode(*scratch, payload)
	if len(small) <= len(payload)-len(payload)/8 {
		entry = append(append(make([]byte, 0, header+len(small)), entry[:header]...), small...)
		entry[1] |= flagCompressed
	}
	if len(*scratch) <= maxScratch {
		s.scratch.Put(scratch)
	}
	return entry
}

// maxScratch bounds a reused buffer. There is about one per processor, until the next garbage
// collections.
const maxScratch = 2 << 20

// Initial capacity of an entry: about the size of the last one.
const (
	minEntry    = 128
	maxExpected = 64 << 10
)

// encodeNegative encodes an entry that remembers ErrNotFound.
func (s *store) encodeNegative(set *settings, st *stamps) sealed {
	e := s.sealed(s.jitter(set.negativeTTL), 0, st)
	e.header.flags |= flagNegative
	e.data = textOf(e.header.seal(make([]byte, 0, headerSizeOf(&e.header))))
	return e
}

// sealed returns an entry that is fresh for ttl, and then kept for staleFor.
func (s *store) sealed(ttl, staleFor time.Duration, st *stamps) sealed {
	e := sealed{ttl: ttl + staleFor, header: header{
		codec: s.opt.Codec.ID(), schema: s.schema, soft: s.serverNow() + ttl.Milliseconds(), clear: st.clear.id,
	}}
	if staleFor > 0 {
		e.header.flags |= flagStale
	}
	for i, tag := range st.tags {
		e.header.tags = append(e.header.tags, tagged{tag, st.generations[i].id})
	}
	return e
}

// lifetime returns the longest time for which an entry of a call can stay on the server.
func (s *store) lifetime(set *settings) time.Duration {
	return max(set.ttl+set.staleFor, set.negativeTTL)
}

// jitter shortens a TTL by a random part.
func (s *store) jitter(ttl time.Duration) time.Duration {
	if s.opt.Jitter == 0 {
		return ttl
	}
	return max(ttl-time.Duration(s.opt.Jitter*rand.Float64()*float64(ttl)), time.Millisecond)
}

var errSize = errors.New("the value is too large")

// unpack decompresses a payload. It checks the claimed size before it allocates memory.
func (s *store) unpack(h *header, payload string) (string, error) {
	if h.flags&flagCompressed == 0 {
		if len(payload) > s.opt.MaxValueBytes {
			return "", errSize
		}
		return payload, nil
	}
	size, err := s2.DecodedLen(bytesOf(payload))
	if err != nil {
		return "", err
	}
	if size > s.opt.MaxValueBytes {
		return "", errSize
	}
	data, err := s2.Decode(nil, bytesOf(payload))
	if err != nil {
		return "", err
	}
	return textOf(data), nil
}

// textOf returns b without a copy. The caller does not change b any more.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf returns s without a copy, for a codec: a codec neither keeps nor changes its input.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
