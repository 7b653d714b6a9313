package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/eventview"
)

const (
	viewHeads = 16 << 10 // bytes of an entry up to which a view without data reads it whole
	viewData  = 64 << 10 // bytes of an entry up to which a view with data reads it whole
	viewClip  = 1 << 10  // bytes of each value of a larger entry
)

// entry is one entry in the reply of look.lua.
type entry struct {
	id     string
	size   int      // stored bytes
	fields []string // names and values in turn
}

// lookCall makes a run of look.lua.
func lookCall(key, direction, bound string, limit, bytes int, data, fields bool) core.Call {
	whole, clip := viewHeads, viewClip
	if data {
		whole = viewData
	}
	if !fields {
		clip = 0
	}
	return core.Call{Keys: []string{key}, Args: []string{direction, bound, strconv.Itoa(limit), strconv.Itoa(bytes),
		strconv.Itoa(whole), strconv.Itoa(clip)}}
}

func decodeLook(result core.Result) (entries []entry, end bool, err error) {
	msg, err := result.Get()
	if err != nil {
		return nil, false, err
	}
	parts, err := msg.ToArray()
	if err != nil || len(parts)%3 != 1 {
		return nil, false, unexpected("a part of a stream", err)
	}
	d := decoder{parts: parts}
	end = d.text("the end") == "1"
	for d.err == nil && d.next < len(parts) {
		e := entry{id: d.text("an id"), size: int(d.number("a size"))}
		e.fields = d.texts("fields")
		entries = append(entries, e)
	}
	return entries, end, d.err
}

// Read reads parts of partitions: one round trip per node.
func (v view) Read(ctx context.Context, reads []eventview.Read) []eventview.Page {
	calls := make([]core.Call, len(reads))
	for i, r := range reads {
		direction, bound := "up", "-"
		if r.Newest {
			direction, bound = "down", "+"
		}
		if r.After != "" {
			bound = "(" + r.After
			if r.Inclusive {
				bound = r.After
			}
		}
		calls[i] = lookCall(v.d.parts[r.Partition].stream, direction, bound, r.Limit, r.Bytes, r.Data, true)
	}
	pages := make([]eventview.Page, len(reads))
	for i, result := range v.d.core.EvalMulti(ctx, lookScript, calls) {
		page := &pages[i]
		var entries []entry
		entries, page.End, page.Err = decodeLook(result)
		for _, e := range entries {
			page.Events = append(page.Events, eventOf(reads[i].Partition, e, reads[i].Data))
			page.Last = e.id
		}
	}
	return pages
}

// eventOf decodes an entry of a partition's stream.
func eventOf(partition int, e entry, data bool) eventview.Event {
	v := eventview.Event{Partition: partition, Position: e.id, Size: e.size}
	if len(e.fields) < 4 || e.fields[0] != "c" {
		v.Format, v.Problem = "?", "another program wrote the entry"
		return v
	}
	rest := e.size - len(e.fields[0]) - len(e.fields[1]) - len(e.fields[2])
	decodeStored(&v, e.fields[1], e.fields[2], e.fields[3], rest, data)
	return v
}

// decodeStored decodes an envelope into v. size is the size of the whole body, of which body may be
// the beginning only; 0 if it is not known.
func decodeStored(v *eventview.Event, channel, format, body string, size int, data bool) {
	v.Channel, v.Format = channel, format
	if format != envelopeField {
		v.Problem = "the envelope is of another release"
		return
	}
	var d delivery
	clipped := len(body) < size || size == 0 && len(body) == viewClip
	if clipped {
		var ok bool
		if d.envelope, ok = parseQuick(body + "}"); !ok {
			v.Problem = fmt.Sprintf("the event has %d bytes: only its beginning was read", v.Size)
			return
		}
		if head := len(body) - len(d.Data); size > 0 {
			v.DataBytes = size - head - len("}")
		}
		d.Data = nil
	} else {
		raw, err := json.RawMessage(nil), d.parse(body, true)
		if err == nil {
			err = d.decode(&raw)
		}
		if err != nil {
			v.Problem = err.Error()
			return
		}
		d.Data = raw
		v.DataBytes = len(raw)
	}
	v.ID, v.Type, v.Source, v.TraceParent, v.Time = d.ID, d.Type, d.Source, d.TraceParent, d.Time
	if data {
		v.Data = d.Data
	}
}

// Dead returns dead letters by partition, then oldest first. It takes one round trip per 256
// partitions, and one per partition with dead letters. It reads at most 1 MiB of stored bytes.
func (v view) Dead(ctx context.Context, group, after string, limit int, data bool) (page eventview.Letters, err error) {
	q := v.d.DeadLetters(group)
	first, bound := 0, "-"
	if after != "" {
		i, id, err := q.split(after)
		if err != nil {
			return page, err
		}
		first, bound = i, "("+id
	}
	filled, err := q.filled(ctx, first)
	if err != nil {
		return page, err
	}

	bytes := replyBytes
	for n, i := range filled {
		if i != first {
			bound = "-"
		}
		entries, end, err := q.look(ctx, i, bound, limit-len(page.Items), bytes, data, true)
		if err != nil {
			return page, err
		}
		for _, e := range entries {
			page.Items = append(page.Items, letterOf(i, e, data))
			bytes -= e.size + 64
		}
		page.Scanned += len(entries)
		if full := len(page.Items) >= limit || bytes <= 0; full || !end {
			if !end || n < len(filled)-1 {
				page.Next = page.Items[len(page.Items)-1].Letter
			}
			return page, nil
		}
	}
	return page, nil
}

func (v view) Letter(ctx context.Context, group, letter string) (l eventview.DeadLetter, found bool, err error) {
	q := v.d.DeadLetters(group)
	i, id, err := q.split(letter)
	if err != nil {
		return l, false, nil //nolint:nilerr // there is no dead letter with such an id
	}
	entries, _, err := q.look(ctx, i, id, 1, 1, true, true)
	if err != nil || len(entries) == 0 || entries[0].id != id {
		return l, false, err
	}
	return letterOf(i, entries[0], true), true, nil
}

// letterOf decodes an entry of a stream of dead letters, see poll.lua.
func letterOf(partition int, e entry, data bool) eventview.DeadLetter {
	l := eventview.DeadLetter{Letter: strconv.Itoa(partition) + "." + e.id}
	l.Event = eventview.Event{Partition: partition, Size: e.size}
	f := e.fields
	if len(f) < 6 || f[0] != "id" || f[2] != "c" {
		l.Event.Format, l.Event.Problem = "?", "another program wrote the entry"
		return l
	}
	l.Event.Position = f[1]
	for i := 6; i+1 < len(f); i += 2 {
		switch f[i] {
		case "cause":
			l.Cause = f[i+1]
		case "attempts":
			l.Attempts, _ = strconv.Atoi(f[i+1])
		case "at":
			if ms, err := strconv.ParseInt(f[i+1], 10, 64); err == nil {
				l.Died = time.UnixMilli(ms).UTC()
			}
		}
	}
	size := len(f[5])
	if e.size > viewHeads && size == viewClip {
		size = 0 // the body and the cause may both be clipped
	}
	decodeStored(&l.Event, f[3], f[4], f[5], size, data)
	return l
}

func (v view) Redrive(ctx context.Context, group string, letters []string) (int, error) {
	return v.d.DeadLetters(group).Redrive(ctx, letters...)
}

func (v view) Drop(ctx context.Context, group string, letters []string) (int, error) {
	return v.d.DeadLetters(group).Drop(ctx, letters...)
}

func (v view) RedriveAll(ctx context.Context, group string) (int, error) {
	return v.d.DeadLetters(group).RedriveAll(ctx)
}

func (v view) DropAll(ctx context.Context, group string) (int, error) {
	return v.d.DeadLetters(group).DropAll(ctx)
}
