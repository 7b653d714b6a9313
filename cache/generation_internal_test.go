package cache

import (
	"strconv"
	"testing"
	"time"
)

// For any number of tags, the number of generations in memory is bounded. A dropped generation ends
// its near-cached entries.
func TestGenerationsAreBounded(t *testing.T) {
	t.Parallel()
	g := &generations{}
	all := make([]*generation, 0, 2*maxGenerations)
	read := func(r ref) *generation {
		gen := g.reserve(r)
		gen.id, gen.until = newGenerationID(), time.Hour
		return g.endRead(r, gen, true)
	}
	clear, epoch := read(clearRef), read(epochRef)
	for i := range 2 * maxGenerations {
		all = append(all, read(ref{tagSuffix, strconv.Itoa(i)}))
	}
	if len(g.live) != maxGenerations || len(g.reading) != 0 {
		t.Errorf("%d generations are in memory and %d are being read, want %d and none", len(g.live),
			len(g.reading), maxGenerations)
	}
	for i, gen := range all {
		if known := g.live[ref{tagSuffix, strconv.Itoa(i)}] == gen; known == gen.dead.Load() {
			t.Fatalf("tag %d: remembered: %v, dead: %v", i, known, gen.dead.Load())
		}
	}
	if clear.dead.Load() || epoch.dead.Load() || g.clear.Load() != clear || g.known(epochRef, 0) != epoch {
		t.Error("tags have replaced a generation that every entry needs")
	}
	if g.suspect(time.Second); g.known(clearRef, 0) != nil || g.fallback(clearRef, 2*time.Second) != clear ||
		g.fallback(clearRef, time.Second+suspectFor) != nil {
		t.Error("after a loss of pushes, a generation must be suspect for suspectFor")
	}
}

// A generation that changes while it is read is used only by its reader. The same holds for one
// that another reader found changed.
func TestGenerationsThatChangeDuringARead(t *testing.T) {
	t.Parallel()
	for _, r := range []ref{{tagSuffix, "tag"}, clearRef, epochRef} {
		for name, drop := range map[string]func(g *generations){"a push": func(g *generations) { g.drop(r) },
			"a flush": func(g *generations) { g.suspect(0) }} {
			g := &generations{}
			gen := g.reserve(r)
			gen.id, gen.until = newGenerationID(), time.Hour
			drop(g)
			if got := g.endRead(r, gen, true); got.id != gen.id || !got.dead.Load() {
				t.Errorf("%s, %s: the reader got another generation, or one that is not dead", r.kind, name)
			}
			if g.known(r, 0) != nil || g.live[r] != nil {
				t.Errorf("%s, %s: it is remembered", r.kind, name)
			}
			if len(g.reading) != 0 {
				t.Errorf("%s, %s: its reading is remembered", r.kind, name)
			}
		}
		g := &generations{}
		first, second := g.reserve(r), g.reserve(r)
		first.id, first.until = newGenerationID(), time.Hour
		second.id, second.until = newGenerationID(), time.Hour
		g.endRead(r, first, true)
		if g.endRead(r, second, true); g.known(r, 0) != second || !first.dead.Load() || second.dead.Load() {
			t.Errorf("%s: the generation of the first of two readers is not dead", r.kind)
		}
		if failed := g.reserve(r); !g.endRead(r, failed, false).dead.Load() || g.known(r, 0) != second {
			t.Errorf("%s: a reading that failed counts", r.kind)
		}
	}
}
