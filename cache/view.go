package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/redstart-go/redstart/internal/cacheview"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// Package inspect explains stored values through package cacheview. It has no Cache: it does not
// know the type of the values.
var _ = cacheview.Register(cacheview.Functions{
	Read: viewRead, Value: viewValue, Locals: viewLocals, Schema: schemaOf, IsEntry: viewIsEntry,
})

// viewBytes is how much of a stored value one read examines. The header of an entry with 32 tags
// has at most 8.3 KiB.
const viewBytes = 16 << 10

func viewIsEntry(suffix string, sibling bool) bool { return !sibling && suffix == "" }

// viewRead reads the state of a key in one round trip, further headers in one each, and the
// generations in one.
func viewRead(ctx context.Context, c *core.Core, name, key string, reader cacheview.Reader) (cacheview.Stored, error) {
	space, err := c.Keys("cache", name)
	if err != nil {
		return cacheview.Stored{}, err
	}
	s := store{core: c, name: name, space: space}
	names := s.names(key)
	replies := c.DoMulti(ctx,
		core.ReadAt(names[0], "TIME"), core.Read("STRLEN", names[0]), core.Read("PTTL", names[0]),
		core.Read("GETRANGE", names[0], "0", fmt.Sprint(viewBytes-1)),
		core.Read("GET", names[1]), core.Read("PTTL", names[1]), core.Read("GET", names[2]))

	var stored cacheview.Stored
	now, err := viewTime(replies[0])
	if err != nil {
		return stored, err
	}
	stored.Now = now
	if err := viewLease(&stored, replies[4:]); err != nil {
		return stored, err
	}

	size, err := viewInt(replies[1])
	switch {
	case err != nil && wrongType(err):
		stored.Present = true
		stored.Entries = []cacheview.Entry{{Verdict: cacheview.Miss, Reason: cacheview.Unreadable, Detail: "the key has another type"}}
		return stored, nil
	case err != nil:
		return stored, err
	case size == 0:
		return stored, nil
	}
	left, err := viewInt(replies[2])
	if err != nil {
		return stored, err
	}
	begin, err := viewText(replies[3])
	if err != nil {
		return stored, err
	}
	stored.Present, stored.Bytes, stored.TTL = true, size, time.Duration(left)*time.Millisecond

	v := valueView{s: &s, ctx: ctx, key: names[0], size: size, begin: begin}
	headers, err := v.entries()
	if err != nil {
		return stored, err
	}
	if err := s.viewGenerations(ctx, headers); err != nil {
		return stored, err
	}
	for i := range headers {
		stored.Entries = append(stored.Entries, headers[i].judge(reader, now.UnixMilli()))
	}
	return stored, nil
}

// viewLease reads the replies for the lease, its TTL and the outcome.
func viewLease(stored *cacheview.Stored, replies []core.Result) error {
	lease, err := viewText(replies[0])
	if err != nil {
		return err
	}
	left, err := viewInt(replies[1])
	if err != nil {
		return err
	}
	outcome, err := viewText(replies[2])
	if err != nil {
		return err
	}
	switch {
	case lease == "hold":
		stored.Lease = "hold-down"
	case lease != "":
		stored.Lease = "load"
	}
	stored.Left = time.Duration(max(left, 0)) * time.Millisecond
	if len(outcome) == tokenSize+1 {
		stored.Outcome = map[byte]string{outcomeNotFound: "not found", outcomeFailed: "the load failed",
			outcomeTimeout: "the load took too long", outcomeUnstorable: "the value can't be stored"}[outcome[tokenSize]]
	}
	return nil
}

func viewTime(r core.Result) (time.Time, error) {
	msg, err := r.Get()
	if err != nil {
		return time.Time{}, err
	}
	parts, err := msg.AsStrSlice()
	if err != nil || len(parts) != 2 {
		return time.Time{}, fault.New(fault.ErrCorrupt, errors.New("malformed reply to TIME"), "")
	}
	var sec, us int64
	if _, err := fmt.Sscan(parts[0]+" "+parts[1], &sec, &us); err != nil {
		return time.Time{}, fault.New(fault.ErrCorrupt, err, "")
	}
	return time.Unix(sec, us*1000), nil
}

func viewInt(r core.Result) (int64, error) {
	msg, err := r.Get()
	if err != nil {
		return 0, err
	}
	return msg.AsInt64()
}

// viewText returns "" for a missing key and for a key of another type.
func viewText(r core.Result) (string, error) {
	msg, err := r.Get()
	if err != nil && wrongType(err) || err == nil && msg.IsNil() {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return msg.ToString()
}

// valueView reads parts of a stored value.
type valueView struct {
	s     *store
	ctx   context.Context
	key   string
	size  int64
	begin string // the first viewBytes
}

// at returns up to n bytes from an offset: from memory, or in one round trip.
func (v *valueView) at(offset, n int64) (string, error) {
	n = min(n, v.size-offset)
	if n <= 0 {
		return "", nil
	}
	if offset+n <= int64(len(v.begin)) {
		return v.begin[offset : offset+n], nil
	}
	return viewText(v.s.core.DoMulti(v.ctx, core.Read("GETRANGE", v.key, fmt.Sprint(offset), fmt.Sprint(offset+n-1)))[0])
}

// entryView is the header of an entry, and what is known about its generations.
type entryView struct {
	header
	err        error // the entry is unreadable
	several    bool
	allExpired bool
	at, size   int64  // the entry in the stored value
	head       string // at least the header, and the begin of the payload
	cleared    string // state of the generation of the cache
	tagStates  []string
}

// entries returns the entries of a stored value: see entriesOf, which needs the whole value.
func (v *valueView) entries() ([]entryView, error) {
	if v.begin[0] != several {
		e, err := v.entry(0, v.size)
		return []entryView{e}, err
	}
	ended := len(v.begin) >= severalSize && allExpired(v.begin)
	var all []entryView
	for offset := int64(severalSize); offset+lengthSize < v.size && len(all) < maxVersions; {
		length, err := v.at(offset, lengthSize)
		if err != nil || len(length) < lengthSize {
			return all, err
		}
		size := int64(binary.BigEndian.Uint32([]byte(length)))
		offset += lengthSize
		if offset+size > v.size {
			break
		}
		e, err := v.entry(offset, size)
		if err != nil {
			return all, err
		}
		e.several, e.allExpired = true, ended
		all = append(all, e)
		offset += size
	}
	if len(all) == 0 {
		all = append(all, entryView{err: errShort, size: v.size})
	}
	return all, nil
}

// entry reads the header of one entry. A malformed entry is not an error.
func (v *valueView) entry(offset, size int64) (entryView, error) {
	e := entryView{at: offset, size: size}
	head, err := v.at(offset, min(size, viewBytes))
	if err != nil {
		return e, err
	}
	e.head = head
	_, e.err = e.open(head)
	return e, nil
}

// The states of generations.
const (
	viewCurrent     = "current"
	viewInvalidated = "invalidated"
	viewLost        = "lost"
)

// viewGenerations reads the generations of the cache and of all tags: one round trip per node.
func (s *store) viewGenerations(ctx context.Context, entries []entryView) error {
	cmds := []core.Command{core.Read("GET", s.space.Sibling("", clearSuffix))}
	for i := range entries {
		for _, t := range entries[i].header.tags {
			cmds = append(cmds, core.Read("GET", s.space.Sibling(t.name, tagSuffix)))
		}
	}
	states := make([]string, 0, len(cmds))
	for _, r := range s.core.DoMulti(ctx, cmds...) {
		id, err := viewText(r)
		if err != nil {
			return err
		}
		states = append(states, id)
	}

	stateOf := func(id string, want generationID) string {
		switch {
		case len(id) != len(want):
			return viewLost
		case id != string(want[:]):
			return viewInvalidated
		}
		return viewCurrent
	}
	next := 1
	for i := range entries {
		e := &entries[i]
		e.cleared = stateOf(states[0], e.clear)
		for _, t := range e.header.tags {
			e.tagStates = append(e.tagStates, stateOf(states[next], t.id))
			next++
		}
	}
	return nil
}

// judge decides what a read of the entry would be, as openOwn, resolve and decode do. It does not
// decode the value.
func (e *entryView) judge(reader cacheview.Reader, now int64) cacheview.Entry {
	if e.err != nil {
		return cacheview.Entry{Bytes: e.size, Verdict: cacheview.Miss, Reason: cacheview.Unreadable, Detail: e.err.Error()}
	}
	out := cacheview.Entry{Codec: e.codec, Schema: e.schema, Bytes: e.size, Cost: time.Duration(e.cost) * time.Millisecond,
		Compressed: e.flags&flagCompressed != 0, Negative: e.flags&flagNegative != 0, Verdict: cacheview.Miss}
	soft := e.soft
	if e.allExpired {
		soft = expired
	}
	if soft != expired {
		out.Soft = time.UnixMilli(soft)
	}
	e.describe(&out)

	lost := ""
	for i, state := range e.tagStates {
		if state != viewCurrent && lost == "" {
			lost = e.header.tags[i].name
		}
	}
	left := time.Duration(soft-now) * time.Millisecond
	if e.flags&flagStale != 0 {
		left += reader.StaleFor
	}
	own := reader.Any || e.schema == reader.Schema && (reader.Codec == 0 || e.codec == reader.Codec)
	switch {
	case !own:
		out.Reason = cacheview.OtherReader
	case e.several && soft != expired && !(reader.Any && e.flags&flagStale != 0) && left <= 0:
		out.Reason = cacheview.PastTTL
	case e.cleared != viewCurrent:
		out.Reason, out.Detail = cacheview.Cleared, e.cleared
	case lost != "":
		out.Reason, out.Detail = cacheview.Invalidated, lost
	case out.Negative && soft == expired:
		out.Reason = cacheview.Expired
	case out.Negative:
		out.Verdict, out.Reason = cacheview.Negative, cacheview.Remembered
	case soft == expired:
		out.Verdict, out.Reason = cacheview.Stale, cacheview.Expired
	case e.flags&flagStale != 0 && soft <= now:
		out.Verdict, out.Reason = cacheview.Stale, cacheview.PastTTL
	default:
		out.Verdict, out.Reason = cacheview.Hit, cacheview.Fresh
	}
	return out
}

// describe sets the sizes and the tags of an entry.
func (e *entryView) describe(out *cacheview.Entry) {
	size := int64(headerSizeOf(&e.header))
	out.SetPayload(e.at+size, e.size-size)
	out.ValueBytes = e.size - size
	if out.Compressed && int64(len(e.head)) > size {
		if n, err := s2.DecodedLen([]byte(e.head[size:])); err == nil {
			out.ValueBytes = int64(n)
		}
	}
	for i, t := range e.header.tags {
		out.Tags = append(out.Tags, cacheview.Tag{Name: t.name, State: e.tagStates[i]})
	}
}

func viewValue(ctx context.Context, c *core.Core, name, key string, e *cacheview.Entry, limit int64) (string, error) {
	space, err := c.Keys("cache", name)
	if err != nil {
		return "", err
	}
	begin, size := e.Payload()
	if max(size, e.ValueBytes) > limit {
		return "", fault.New(fault.ErrTooLarge, fmt.Errorf("the value has %d bytes", max(size, e.ValueBytes)),
			fmt.Sprintf("at most %d bytes are shown", limit))
	}
	s := store{core: c, name: name, space: space, opt: Options{MaxValueBytes: int(limit)}}
	v := valueView{s: &s, ctx: ctx, key: s.valueKey(key), size: begin + size}
	payload, err := v.at(begin, size)
	if err != nil || !e.Compressed {
		return payload, err
	}
	value, err := s.unpack(&header{flags: flagCompressed}, payload)
	if err != nil {
		return "", fault.New(fault.ErrCorrupt, err, "the value may have changed in the meantime: repeat the call")
	}
	return value, nil
}
