package cache

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func versioned(t testing.TB, version string) *store {
	t.Helper()
	opt, err := (Options{Version: version, MaxValueBytes: 1000}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := &store{opt: opt, schema: schemaOf(version)}
	return s
}

// entry returns an entry of s that is fresh for ttl.
func (s *store) entry(payload string, ttl time.Duration) sealed {
	h := header{codec: s.opt.Codec.ID(), schema: s.schema, soft: time.Now().Add(ttl).UnixMilli()}
	return sealed{header: h, data: string(h.seal(nil)) + payload, ttl: ttl}
}

// A process of an older release reads a value of several entries as another format: a miss, which
// it replaces.
func TestC5_AnOlderReleaseReadsSeveralEntriesAsAMiss(t *testing.T) {
	t.Parallel()
	one, two := versioned(t, "1"), versioned(t, "2")
	e := two.entry("two", time.Minute)
	two.addOthers(&e, one.others(one.entry("one", time.Hour).data)) // none: it is its own
	if e.data[0] != format {
		t.Fatalf("one entry alone has the format %d", e.data[0])
	}
	two.addOthers(&e, two.others(one.entry("one", time.Hour).data))
	var h header
	if _, err := h.open(e.data); !errors.Is(err, errFormat) {
		t.Errorf("an older release: %v, want %v", err, errFormat)
	}
	for s, want := range map[*store]string{one: "one", two: "two"} {
		if _, payload, err := s.openOwn(e.data); err != nil || payload != want {
			t.Errorf("%q, %v, want %q", payload, err, want)
		}
	}
	if e.ttl < 59*time.Minute {
		t.Errorf("the key lives for %v, less than the entry of the other version", e.ttl)
	}
}

// Entries past their TTL, or ended by a Clear, are not kept.
func TestEntriesThatEndedAreNotKept(t *testing.T) {
	t.Parallel()
	one, two := versioned(t, "1"), versioned(t, "2")
	if kept := two.others(one.entry("one", -time.Second).data); len(kept) != 0 {
		t.Errorf("past its TTL: %d kept", len(kept))
	}
	e := two.entry("two", time.Minute)
	e.header.clear = newGenerationID()
	two.addOthers(&e, two.others(one.entry("one", time.Hour).data))
	if _, _, err := one.openOwn(e.data); !errors.Is(err, errVersion) && !errors.Is(err, errFormat) {
		t.Errorf("of another generation of the cache: %v", err)
	}
}

// For any bytes in a value of several entries there is no panic, and the entries are parts of the
// value.
func FuzzC5_SeveralEntries(f *testing.F) {
	one, two := versioned(f, "1"), versioned(f, "2")
	e := two.entry("two", time.Minute)
	two.addOthers(&e, two.others(one.entry("one", time.Hour).data))
	f.Add(e.data)
	f.Add(e.data[:30])
	f.Add(e.data[:20])
	f.Add(e.data[:severalSize])
	f.Add("\x02")
	f.Add(e.data[:severalSize] + strings.Repeat("\xff", 40))
	f.Add(e.data[:severalSize] + strings.Repeat("\x00", 40))
	f.Fuzz(func(t *testing.T, data string) {
		size := 0
		for entry := range entriesOf(data) {
			size += len(entry)
		}
		if size > len(data) {
			t.Fatalf("%d bytes of %d", size, len(data))
		}
		_, _, _ = one.openOwn(data)
		if kept := one.others(data); slices.ContainsFunc(kept, func(entry string) bool { return entry[0] != format }) {
			t.Fatalf("kept: %q", kept)
		}
	})
}
