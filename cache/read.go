package cache

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// state is what a read found under a key.
type state uint8

const (
	missing  state = iota // nothing
	rejected              // an entry that can't be used: head identifies it
	negative              // an entry that says that the source has no value
	fresh
	stale // past its TTL, within StaleFor
)

// found is the result of a read.
type found[V any] struct {
	state   state
	head    string
	value   V
	payload string
	header  header
	clear   *generation
	tags    []*generation
}

// read reads a key from the server: one round trip, unless generations have to be read too.
func (c *Cache[V]) read(ctx context.Context, key string) (found[V], error) {
	if !c.core.Capabilities().Tracking {
		return c.readUntracked(ctx, key)
	}
	clear, err := c.clearGeneration(ctx)
	if err != nil {
		return found[V]{}, err
	}
	cmd := core.Read("GET", c.valueKey(key))
	if c.near == nil {
		msg, err := c.core.Do(ctx, cmd)
		return c.interpret(ctx, msg, err, clear)
	}
	ticket := c.near.reserve(key)
	msg, err := c.core.DoTracked(ctx, cmd)
	e, err := c.interpret(ctx, msg, err, clear)
	c.near.commit(key, ticket, c.nearEntry(key, &e), e.answered(err))
	return e, err
}

// clearGeneration returns the generation of the whole cache, from memory once it is known.
func (s *store) clearGeneration(ctx context.Context) (*generation, error) {
	if gen := s.generations.clear.Load(); gen != nil && s.generations.current(gen) {
		if gen.due(s.core.Clock().Now(), s.points.Duration("touch", touchAfter)) {
			s.touch(clearRef)
		}
		return gen, nil
	}
	gens, err := s.capture(ctx, []ref{clearRef}, 0)
	if err != nil {
		return nil, err
	}
	return gens[0], nil
}

// readUntracked reads the generation together with the value: without tracking, the server does not
// push its changes.
func (c *Cache[V]) readUntracked(ctx context.Context, key string) (found[V], error) {
	results := c.core.DoMulti(ctx,
		core.Read("GET", c.valueKey(key)),
		core.Read("GET", c.space.Sibling("", clearSuffix)))
	clear, err := readClear(results[1])
	if err != nil {
		return found[V]{}, err
	}
	msg, err := results[0].Get()
	return c.interpret(ctx, msg, err, clear)
}

// readClear decodes the reply to a GET of the generation. A missing one becomes a generation that
// no entry has.
func readClear(r core.Result) (*generation, error) {
	gen := &generation{id: newGenerationID()}
	gen.dead.Store(true)
	msg, err := r.Get()
	if err != nil && !wrongType(err) {
		return nil, err
	}
	if id, err := msg.ToString(); err == nil && len(id) == len(gen.id) {
		copy(gen.id[:], id)
	}
	return gen, nil
}

// interpret decodes the reply to a GET of a value.
func (c *Cache[V]) interpret(ctx context.Context, msg core.Reply, err error, clear *generation) (found[V], error) {
	switch {
	case err != nil && wrongType(err):
		c.count.add(cUnreadable, 1)
		return found[V]{state: rejected}, nil
	case err != nil:
		return found[V]{}, err
	case msg.IsNil():
		return found[V]{}, nil
	}
	data, err := msg.ToString()
	if err != nil {
		return found[V]{}, err
	}
	return c.resolve(ctx, data, clear)
}

// resolve decodes an entry and checks its generations.
func (c *Cache[V]) resolve(ctx context.Context, data string, clear *generation) (found[V], error) {
	e := c.open(data, clear)
	if len(e.header.tags) == 0 || e.state == rejected {
		c.decode(&e)
		return e, nil
	}
	refs := make([]ref, len(e.header.tags))
	for i := range refs {
		refs[i] = ref{tagSuffix, e.header.tags[i].name}
	}
	gens, err := c.capture(ctx, refs, 0)
	if err != nil {
		return found[V]{}, err
	}
	if err := c.checkTags(&e, gens); err != nil {
		return found[V]{}, err
	}
	c.decode(&e)
	return e, nil
}

// open decodes the header of an entry, without its tags. An entry that can't be read is a miss, is
// counted, and is overwritten by the next load (C5).
func (c *Cache[V]) open(data string, clear *generation) found[V] {
	e := found[V]{state: rejected, head: head(data), clear: clear}
	var payload string
	var err error
	e.header, payload, err = c.openOwn(data)
	switch {
	case err == errOver:
	case err != nil:
		c.count.add(cUnreadable, 1)
	case e.header.clear != clear.id:
		c.count.add(cInvalidated, 1)
	default:
		e.state, e.payload = fresh, payload
	}
	return e
}

// checkTags compares the tags of an entry with their current generations. It fails while an
// invalidation of one of the tags is pending.
func (c *Cache[V]) checkTags(e *found[V], gens []*generation) error {
	e.tags = gens
	for i := range gens {
		if c.pendsRef(ref{tagSuffix, e.header.tags[i].name}) {
			return errPending
		}
	}
	for i := range gens {
		if e.header.tags[i].id != gens[i].id {
			e.state = rejected
			c.count.add(cInvalidated, 1)
			return nil
		}
	}
	return nil
}

// decode decodes the value of an entry whose generations are valid.
func (c *Cache[V]) decode(e *found[V]) {
	if e.state != fresh {
		return
	}
	if e.header.flags&flagNegative != 0 {
		if e.state = negative; e.header.soft == expired {
			e.state = rejected
		}
		return
	}
	var err error
	if e.payload, err = c.unpack(&e.header, e.payload); err == nil {
		err = c.unmarshalOwn(e.payload, &e.value)
	}
	switch {
	case err != nil:
		var none V
		e.value, e.state = none, rejected
		c.count.add(cUnreadable, 1)
		c.undecodable.Do(func() {
			c.core.Logger().Warn("cache: a stored value of this version does not decode; further ones are counted in Stats.Unreadable",
				"cache", c.name, "error", err)
		})
	case e.header.soft == expired, e.header.flags&flagStale != 0 && e.header.soft <= c.serverNow():
		e.state = stale
	}
}

// nearEntry returns the near-cached entry for a result, or nil if it may not be kept.
func (c *Cache[V]) nearEntry(key string, e *found[V]) *nearEntry[V] {
	if e.state != fresh && e.state != negative || e.clear.dead.Load() || c.pends(key) {
		return nil
	}
	var err error
	now := c.core.Clock().Now()
	soft := now + time.Duration(e.header.soft-c.serverNow())*time.Millisecond
	kept := &nearEntry[V]{
		negative: e.state == negative, clear: e.clear, tags: e.tags,
		expires: now + c.near.ttl, soft: soft, early: soft, cost: time.Duration(e.header.cost) * time.Millisecond,
	}
	copy(kept.head[:], e.head)
	if e.header.flags&flagStale == 0 {
		kept.expires = min(kept.expires, soft)
	}
	kept.suspect = !c.generations.current(e.clear) ||
		slices.ContainsFunc(e.tags, func(tag *generation) bool { return !c.generations.current(tag) })
	kept.early -= c.earliest(kept.cost)
	switch {
	case kept.negative:
	case c.sharing == shareBytes:
		kept.encoded = encoded{payload: strings.Clone(e.payload), known: true} // a copy without the header
	default:
		if kept.value, err = c.privateSafely(e.value); err != nil {
			return nil
		}
	}
	return kept
}

// answered returns the server's answer for a suspect entry. A stale entry on the server is not
// stored in the near cache, and may be the suspect one. After Expire, the suspect entry is no
// longer fresh.
func (e *found[V]) answered(err error) answered {
	if err == nil && e.state == stale && e.header.soft != expired {
		return answered{true, e.head}
	}
	return answered{yes: err == nil}
}

// encoded returns the encoding that callers copy the value from.
func (e *found[V]) encoded() encoded { return encoded{payload: e.payload, known: true} }

// privateSafely calls private while a reservation is held. A panic of Clone becomes an error.
func (c *Cache[V]) privateSafely(value V) (own V, err error) {
	defer contain("clone", &err)
	own, _ = c.private(value, encoded{})
	return own, nil
}

// readKnown calls read. It fails if an invalidation of the key is pending.
func (c *Cache[V]) readKnown(ctx context.Context, key string) (found[V], error) {
	if c.pends(key) {
		return found[V]{}, errPending
	}
	return c.read(ctx, key)
}

// countFound counts the result of a read. A stale entry that is not served is a miss.
func (s *store) countFound(what state) {
	switch what {
	case fresh:
		s.count.add(cHits, 1)
	case negative:
		s.count.add(cNegativeHits, 1)
	default:
		s.count.add(cMisses, 1)
	}
}

// wrongType reports whether the key has another type on the server (C5).
func wrongType(err error) bool {
	return fault.Code(err) == "WRONGTYPE"
}
