package events

import (
	"context"
	_ "embed"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/internal/script"
)

var (
	//go:embed tail.lua
	tailSource string

	tailScript = script.ReadOnly(withinSource + tailSource)
)

// noPosition is the position before all events.
const noPosition = "0-0"

// part is the next part of a stream: events of its channel up to a position.
type part struct {
	entries []heldEntry
	next    string // entries has all events up to this position
	more    bool
}

// read returns the events of a channel after a position: up to 64 events or 256 KiB. The error
// errStale means that events may be missing. Every other error says nothing about the log.
func (t *tail) read(ctx context.Context, v *viewer, at string, history int) (part, error) {
	for {
		t.mu.Lock()
		switch {
		case v.lost:
			v.lost = false
			t.mu.Unlock()
			return part{}, errStale
		case v.caughtUp:
			p := part{next: t.cursor}
			t.mu.Unlock()
			return p, nil
		case before(at, v.from):
			at = v.from
		}
		if t.cursor == "" || before(t.cursor, at) {
			t.mu.Unlock()
			return part{next: at}, nil
		}
		// A position of a lost log is not a position of this log, except for the one before all
		// events.
		if !before(at, t.floor) || t.origin && at == noPosition {
			p := t.take(v, at)
			t.mu.Unlock()
			err := t.await(ctx, p.entries)
			if err != nil { // the stream has not received the events
				t.mu.Lock()
				v.caughtUp, v.from = false, at
				t.mu.Unlock()
			}
			return p, err
		}
		floor, lost := t.floor, t.bottom || len(t.entries) >= history
		t.mu.Unlock()
		if lost {
			return part{}, errStale
		}
		if err := t.extend(ctx, floor); err != nil {
			return part{}, err
		}
	}
}

// take returns the next events of a channel from the index. The caller holds the lock.
func (t *tail) take(v *viewer, at string) part {
	p, bytes := part{next: t.cursor}, 0
	first := sort.Search(len(t.entries), func(i int) bool { return before(at, t.entries[i].id) })
	for i := first; i < len(t.entries); i++ {
		e := &t.entries[i]
		if e.channel != v.channel {
			continue
		}
		if bytes += e.size; len(p.entries) == 64 || len(p.entries) > 0 && bytes > tailReply {
			p.next, p.more = p.entries[len(p.entries)-1].id, true
			return p
		}
		p.entries = append(p.entries, heldEntry{e.id, t.request(e)})
	}
	v.caughtUp = true
	return p
}

// extend reads one page before the index. Streams that wait for the page at the same time share it.
func (t *tail) extend(ctx context.Context, floor string) error {
	select {
	case t.scanning <- struct{}{}:
		defer func() { <-t.scanning }()
	case <-ctx.Done():
		return ctx.Err()
	}

	t.mu.Lock()
	moved := t.floor != floor
	t.mu.Unlock()
	if moved { // another stream has read it
		return nil
	}

	page, err := t.d.readTail(ctx, t.p, false, "down", floor, tailCount, t.channelsInRoom())
	if err != nil {
		return err
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if t.floor != floor {
		return nil
	}
	slices.Reverse(page.entries)
	t.entries = append(page.entries, t.entries...)
	for _, e := range page.entries {
		t.keepBody(e)
	}
	if len(page.entries) > 0 {
		t.floor = positionBefore(page.entries[0].id)
	}
	if page.end {
		t.bottom, t.origin = true, page.whole
	}
	return nil
}

// tailPage is the reply of tail.lua.
type tailPage struct {
	last       string
	whole, end bool
	entries    []tailEntry
}

func (d *Durable) readTail(ctx context.Context, p *partition, tracked bool, direction, at string, count int,
	channels []string) (page tailPage, err error) {
	args := append([]string{direction, at, strconv.Itoa(count), strconv.Itoa(tailReply)}, channels...)
	if err := d.points.Fail("tail", direction); err != nil {
		return page, err
	}
	eval := d.core.Eval
	if tracked {
		eval = d.core.EvalAwaited
	}
	msg, err := eval(ctx, tailScript, []string{p.stream}, args)
	if err != nil {
		return page, err
	}
	words, err := msg.AsStrSlice()
	if err != nil || len(words) < 3 || len(words)%4 != 3 {
		return page, unexpected("a part of a stream", err)
	}
	page.last, page.whole, page.end = words[0], words[1] == "1", words[2] == "1"
	for words = words[3:]; len(words) > 0; words = words[4:] {
		size, err := strconv.Atoi(words[2])
		if err != nil {
			return page, unexpected("a part of a stream", err)
		}
		e := tailEntry{id: words[0], channel: words[1], size: size}
		if words[3] != "" {
			e.body = readBody(words[3])
		}
		page.entries = append(page.entries, e)
	}
	return page, nil
}

// now returns the last position of the log.
func (t *tail) now(ctx context.Context) (string, error) {
	page, err := t.d.readTail(ctx, t.p, false, "up", "18446744073709551615-18446744073709551615", 0, nil)
	return page.last, err
}

// positionBefore returns the last position before another one.
func positionBefore(id string) string {
	ms, seq := parsePosition(id)
	if seq > 0 {
		return strconv.FormatUint(ms, 10) + "-" + strconv.FormatUint(seq-1, 10)
	}
	if ms == 0 {
		return noPosition
	}
	return strconv.FormatUint(ms-1, 10) + "-18446744073709551615"
}

// maxPosition is the length of the longest position, in bytes.
const maxPosition = len("18446744073709551615-18446744073709551615")

// canonicalPosition returns a client's position in the form of the server. A client can send any
// text, such as a megabyte of zeros.
func canonicalPosition(s string) (string, bool) {
	if len(s) > maxPosition || !isPosition(s) {
		return "", false
	}
	ms, seq := parsePosition(s)
	return strconv.FormatUint(ms, 10) + "-" + strconv.FormatUint(seq, 10), true
}

// before reports whether position a is before position b.
func before(a, b string) bool {
	ams, aseq := parsePosition(a)
	bms, bseq := parsePosition(b)
	return ams < bms || ams == bms && aseq < bseq
}

func parsePosition(s string) (ms, seq uint64) {
	first, second, _ := strings.Cut(s, "-")
	ms, _ = strconv.ParseUint(first, 10, 64)
	seq, _ = strconv.ParseUint(second, 10, 64)
	return ms, seq
}
