package cache

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	t.Parallel()
	for _, h := range []header{
		{},
		{flags: flagStale | flagCompressed, codec: 255, schema: schemaOf("v2"), soft: 1 << 45,
			cost: 1<<32 - 1, clear: newGenerationID()},
		{flags: flagNegative, tags: []tagged{{"a", newGenerationID()}, {strings.Repeat("t", 255), newGenerationID()}}},
	} {
		data := h.seal(nil)
		if len(data) != headerSizeOf(&h) {
			t.Fatalf("%d bytes, said %d", len(data), headerSizeOf(&h))
		}
		var got header
		payload, err := got.open(string(data) + "payload")
		if err != nil || payload != "payload" || !reflect.DeepEqual(got, h) {
			t.Fatalf("got %+v, %q, %v, want %+v", got, payload, err, h)
		}
		if again := h.seal(nil); bytes.Equal(again[:headSize], data[:headSize]) {
			t.Fatal("two entries have one head")
		}
	}
}

// For any bytes on the server there is no panic and no memory above the limit. What opens can be
// written again.
func FuzzC5_Envelope(f *testing.F) {
	h := header{flags: flagCompressed | flagStale, codec: 1, schema: schemaOf(""), tags: []tagged{{"tag", newGenerationID()}}}
	f.Add(append(h.seal(nil), s2.Encode(nil, bytes.Repeat([]byte("a"), 10_000))...))
	h.tags, h.flags = nil, 0
	f.Add(append(h.seal(nil), `{"ID":"1"}`...))
	f.Add(h.seal(nil))
	f.Add([]byte{format})
	f.Add([]byte{})
	f.Add([]byte("\x01\x02\x01\x20" + strings.Repeat("\xff", 60)))
	c := &Cache[map[string]string]{}
	c.undecodable.Do(func() {}) // there is no logger
	var err error
	if c.opt, err = (Options{MaxValueBytes: 1 << 16}).withDefaults(); err != nil {
		f.Fatal(err)
	}
	c.schema = schemaOf("")
	f.Fuzz(func(t *testing.T, data []byte) {
		var h header
		payload, err := h.open(string(data))
		if err != nil {
			return
		}
		size := len(data) - len(payload)
		again := h.seal(nil)
		copy(again[4:headSize], data[4:headSize]) // the id is random
		if !bytes.Equal(again, data[:size]) {
			t.Fatalf("opened %x, sealed %x", data[:size], again)
		}
		value, err := c.unpack(&h, payload)
		if len(value) > c.opt.MaxValueBytes {
			t.Fatalf("%d bytes, the cap is %d", len(value), c.opt.MaxValueBytes)
		}
		clear := &generation{id: h.clear}
		e := c.open(string(data), clear)
		if len(e.header.tags) == 0 {
			e.header.flags &^= flagStale // depends on the clock
			c.decode(&e)
			if e.state == fresh && err != nil {
				t.Fatal("a value of a payload that can't be unpacked")
			}
		}
	})
}

func TestC5_SizeCaps(t *testing.T) {
	t.Parallel()
	c := &Cache[string]{}
	c.undecodable.Do(func() {}) // there is no logger
	var err error
	if c.opt, err = (Options{MaxValueBytes: 1 << 16}).withDefaults(); err != nil {
		t.Fatal(err)
	}
	bomb := string(s2.Encode(nil, make([]byte, 10<<20)))
	if len(bomb) > 1<<16 {
		t.Fatal("not much of a bomb")
	}
	if v, err := c.unpack(&header{flags: flagCompressed}, bomb); err == nil {
		t.Fatalf("unpacked %d bytes", len(v))
	}
	if v, err := c.unpack(&header{}, strings.Repeat("a", 1<<16+1)); err == nil {
		t.Fatalf("took %d bytes", len(v))
	}
}
