package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// Tags and Clear work by generations. A key on the server holds a random generation of a tag, or of
// the whole cache. An entry holds the generations that were current when its load began, and is
// valid while they are current. An invalidation deletes the key; the next reader writes another
// generation (C6).
//
// The server pushes the change of each generation that this process has read. A hit therefore
// compares with generations in memory. Without tracking, each hit reads them.

// ref identifies a generation.
type ref struct {
	kind string // suffix of its key
	tag  string
}

const (
	tagSuffix   = "tag"
	clearSuffix = "clear"
	epochSuffix = "epoch"
)

var (
	// clearRef is the generation of the whole cache.
	clearRef = ref{kind: clearSuffix}
	// epochRef changes with every InvalidateTags, before its tags change: see late.
	epochRef = ref{kind: epochSuffix}
)

func tagRefs(tags []string) []ref {
	refs := make([]ref, len(tags))
	for i, tag := range tags {
		refs[i] = ref{tagSuffix, tag}
	}
	return refs
}

// generation is one generation as this process has read it. Near-cached entries point to it: one
// store to dead ends all of them.
type generation struct {
	id    generationID
	dead  atomic.Bool
	until time.Duration // client clock: the server keeps it until then
	era   atomic.Uint64 // the era of its last read: see generations
	since time.Duration // client clock: the end of that era

	touched atomic.Int64 // client clock in ns: see touch
}

// generations are the generations that this process knows.
//
// An era ends when pushes may have been lost. Then all generations and near-cached entries are
// suspect, and each is read again before it is used. While its server can't be reached, a suspect
// generation is used for suspectFor: one dead node must not make the entries of all other nodes
// unreadable.
type generations struct {
	era     era
	mu      sync.Mutex
	live    map[ref]*generation
	reading map[ref][]*generation // reads in progress; a push marks them dead
	clear   atomic.Pointer[generation]
	offline atomic.Pointer[generation] // of entries that were loaded without the server: any invalidation ends it
}

// era counts the losses of pushes. Every near-cache hit reads it: the padding gives it cache lines
// of its own.
type era struct {
	_ [64]byte
	atomic.Uint64
	_ [64]byte
}

// suspectFor bounds the use of a generation whose server can't be reached.
const suspectFor = 30 * time.Second

// maxGenerations bounds the generations in memory. A dropped one is dead: its near-cached entries
// are read again.
const maxGenerations = 1 << 16

// Minimum TTLs of generations on the server. A longer TTL causes a push to every process that
// tracks the key, so the TTL is extended rarely.
const (
	minTagLife   = time.Hour
	minCacheLife = 7 * 24 * time.Hour
)

func (g *generations) known(r ref, until time.Duration) *generation {
	if gen := g.live[r]; gen != nil && gen.until >= until && g.current(gen) {
		return gen
	}
	return nil
}

// current reports whether the server pushes changes of this generation.
func (g *generations) current(gen *generation) bool { return gen.era.Load() == g.era.Load() }

// stand returns the generations that every load needs, if they are known and last until then.
func (g *generations) stand(until time.Duration) (clear, epoch *generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear, epoch = g.known(clearRef, until), g.known(epochRef, until)
	if clear == nil || epoch == nil {
		return nil, nil
	}
	return clear, epoch
}

// drop removes a generation that has changed.
func (g *generations) drop(r ref) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dropLocked(r)
}

func (g *generations) dropLocked(r ref) {
	if gen := g.live[r]; gen != nil {
		gen.dead.Store(true)
		delete(g.live, r)
	}
	for _, gen := range g.reading[r] {
		gen.dead.Store(true)
	}
	if r == clearRef {
		g.clear.Store(nil)
	}
	if old := g.offline.Swap(&generation{}); old != nil {
		old.dead.Store(true)
	}
}

// suspect begins an era: pushes may have been lost.
func (g *generations) suspect(now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gen := range g.live {
		if g.current(gen) {
			gen.since = now
		}
	}
	for _, all := range g.reading {
		for _, gen := range all {
			gen.dead.Store(true)
		}
	}
	g.era.Add(1)
}

// fallback returns the suspect generation to use while its server can't be reached, or nil.
func (g *generations) fallback(r ref, now time.Duration) *generation {
	if gen := g.live[r]; gen != nil && !gen.dead.Load() && (g.current(gen) || now-gen.since < suspectFor) {
		return gen
	}
	return nil
}

// reserve registers the read of a generation.
func (g *generations) reserve(r ref) *generation {
	gen := &generation{}
	if g.reading == nil {
		g.reading = make(map[ref][]*generation)
		g.live = make(map[ref]*generation)
	}
	g.reading[r] = append(g.reading[r], gen)
	return gen
}

// endRead ends a read and returns the generation to use. With keep, the read has succeeded, and the
// generation is kept unless it changed in the meantime.
func (g *generations) endRead(r ref, gen *generation, keep bool) *generation {
	all := g.reading[r]
	for i, other := range all {
		if other == gen {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
			break
		}
	}
	if g.reading[r] = all; len(all) == 0 {
		delete(g.reading, r)
	}
	if !keep || gen.dead.Load() {
		gen.dead.Store(true)
		return gen
	}
	old := g.live[r]
	switch {
	case old != nil && old.id == gen.id: // another reader was first, or it was suspect
		old.until = max(old.until, gen.until)
		old.era.Store(g.era.Load())
		return old
	case old != nil:
		old.dead.Store(true)
	case len(g.live) >= maxGenerations:
		for victim := range g.live {
			if victim.kind == tagSuffix {
				g.live[victim].dead.Store(true)
				delete(g.live, victim)
				break
			}
		}
	}
	g.live[r] = gen
	gen.era.Store(g.era.Load())
	if r == clearRef {
		g.clear.Store(gen)
	}
	return gen
}

// capture returns generations that live on for at least need: from memory, or in one round trip per
// node. It also returns a generation that died in the meantime: it was current while this call ran.
func (s *store) capture(ctx context.Context, refs []ref, need time.Duration) ([]*generation, error) {
	return s.captureAll(ctx, refs, need, s.core.Capabilities().Tracking)
}

func (s *store) captureAll(ctx context.Context, refs []ref, need time.Duration, tracking bool) ([]*generation, error) {
	gens, err := s.captureEach(ctx, refs, need, tracking)
	if err != nil && slices.Contains(gens, nil) {
		return nil, err
	}
	return gens, nil
}

// captureEach is capture in which a generation that can't be read is nil; the error is the last
// one. If the server can't be reached, it returns a suspect generation.
func (s *store) captureEach(ctx context.Context, refs []ref, need time.Duration, tracking bool) ([]*generation, error) {
	gens := make([]*generation, len(refs))
	var ask []int
	var due []ref
	g := &s.generations
	g.mu.Lock()
	now := s.core.Clock().Now()
	until := now + need
	for i, r := range refs {
		if tracking {
			if gens[i] = g.known(r, until); gens[i] != nil {
				if gens[i].due(now, s.points.Duration("touch", touchAfter)) {
					due = append(due, r)
				}
				continue
			}
		}
		// Cloned: the name may be a part of an entry, which it would keep in memory.
		r.tag = strings.Clone(r.tag)
		refs[i] = r
		gens[i] = g.reserve(r)
		ask = append(ask, i)
	}
	g.mu.Unlock()
	if due != nil {
		s.touch(due...)
	}
	if ask == nil {
		return gens, nil
	}

	errs := s.askGenerations(ctx, refs, gens, ask, need)
	g.mu.Lock()
	defer g.mu.Unlock()
	var failed error
	for j, i := range ask {
		gens[i] = g.endRead(refs[i], gens[i], tracking && errs[j] == nil)
		if errs[j] == nil {
			continue
		}
		failed = errs[j]
		gens[i] = nil
		if tracking && unreachable(errs[j]) {
			gens[i] = g.fallback(refs[i], s.core.Clock().Now())
		}
	}
	return gens, failed
}

// askGenerations reads generations. It returns an error for each.
func (s *store) askGenerations(ctx context.Context, refs []ref, gens []*generation, ask []int, need time.Duration) []error {
	calls := make([]core.Call, len(ask))
	for j, i := range ask {
		r := refs[i]
		life := max(minTagLife, 2*need)
		if r.kind != tagSuffix {
			life = max(minCacheLife, 2*need)
		}
		id := newGenerationID()
		calls[j] = core.Call{Keys: []string{s.space.Sibling(r.tag, r.kind)},
			Args: []string{string(id[:]), millis(need), millis(life)}}
	}
	errs := make([]error, len(ask))
	for begin := 0; begin < len(calls); begin += chunk {
		part := calls[begin:min(begin+chunk, len(calls))]
		for j, result := range s.core.EvalMultiTracked(ctx, generationScript, part) {
			gen := gens[ask[begin+j]]
			msg, err := result.Get()
			switch {
			case errors.Is(err, fault.ErrFull):
				// The server has no room for a generation: no entry is valid under this one.
				gen.id = newGenerationID()
				gen.dead.Store(true)
				err = nil
			case err == nil:
				err = s.readGeneration(gen, msg.ToArray)
			}
			errs[begin+j] = err
		}
	}
	return errs
}

func newGenerationID() (id generationID) {
	for i, n := 0, rand.Uint64(); i < len(id); i++ {
		id[i] = byte(n >> (8 * i))
	}
	return id
}

func badGeneration(what string) error {
	return fault.New(fault.ErrCorrupt, fmt.Errorf("malformed generation reply: %s", what),
		"delete the cache's keys on the server")
}

// readGeneration decodes a reply of generation.lua.
func (s *store) readGeneration(gen *generation, answer func() ([]core.Reply, error)) error {
	parts, err := answer()
	if err != nil || len(parts) != 3 {
		return badGeneration("want 3 elements")
	}
	id, err := parts[0].ToString()
	if err != nil || len(id) != len(gen.id) {
		return badGeneration("want a generation of 8 bytes")
	}
	left, err1 := parts[1].AsInt64()
	now, err2 := parts[2].AsInt64()
	if err1 != nil || err2 != nil {
		return badGeneration("want the TTL and the time in ms")
	}
	copy(gen.id[:], id)
	known := s.core.Clock().Now()
	gen.until = known + time.Duration(left)*time.Millisecond
	gen.touched.Store(int64(known))
	s.serverSaid(now)
	return nil
}
