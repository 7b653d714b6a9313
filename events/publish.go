package events

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
)

var (
	//go:embed publish.lua
	publishSource string

	publishScript = script.New(delayedSource + publishSource)
)

// Receipt says where Publish has stored an event. See [Into].
type Receipt struct {
	ID string // id of the event
	// Position is the place of the event in a durable bus, for [FromPosition] and for the position
	// of an SSE stream. It is "" on a live bus, for a delayed event, and for a duplicate.
	Position  string
	Duplicate bool // the ID was published before, and nothing was stored
}

// Words of publish.lua that are not positions.
const (
	wordDelayed   = "delayed"
	wordDuplicate = "duplicate"
	wordConflict  = "conflict"
)

func (d *Durable) send(ctx context.Context, m *message) error {
	if err := d.check(ctx); err != nil {
		return err
	}
	p := d.partition(m.channel)
	word, err := d.add(ctx, p, m)
	if err != nil {
		return err
	}
	d.addedTo(p, 1)
	return d.accept(p, m, word)
}

func (d *Durable) partition(channel string) *partition {
	return d.parts[partitionOf(channel, len(d.parts))]
}

// addedTo counts added events, and trims the partition after every trimEvery events.
func (d *Durable) addedTo(p *partition, n int) {
	if p.untrimmed.Add(int64(n)) >= trimEvery {
		d.trimSoon(p)
	}
}

// add stores an event in its partition and returns the reply of publish.lua.
func (d *Durable) add(ctx context.Context, p *partition, m *message) (string, error) {
	if m.confirm != (Confirmation{}) {
		return d.addConfirmed(ctx, p, m)
	}

	var msg core.Reply
	var err error
	if d.remembers(m) || m.delay > 0 || !m.at.IsZero() {
		call := d.publishCall(p, []*message{m})
		msg, err = d.core.Eval(ctx, publishScript, call.Keys, call.Args)
	} else {
		msg, err = d.core.Do(ctx, core.Write("XADD", p.stream, "*", "c", m.channel, envelopeField, m.text))
	}
	if err != nil {
		return "", err
	}
	return msg.ToString()
}

// accept handles the reply of publish.lua for a message.
func (d *Durable) accept(p *partition, m *message, word string) error {
	d.janitor.begin()
	receipt := Receipt{ID: m.id}
	switch word {
	case wordConflict:
		return fmt.Errorf("event %q: %w", m.id, ErrConflict)
	case wordDuplicate:
		receipt.Duplicate = true
		d.stats.duplicates.Add(1)
	case wordDelayed:
		d.janitor.delayed(p, m)
	default:
		receipt.Position = word
	}
	if m.receipt != nil {
		*m.receipt = receipt
	}
	return nil
}

// remembers reports whether the bus remembers the id of a message.
func (d *Durable) remembers(m *message) bool { return m.chosenID && d.opt.Dedup != NoDedup }

// publishCall returns one call of publish.lua for messages of one partition.
func (d *Durable) publishCall(p *partition, messages []*message) core.Call {
	call := core.Call{Keys: make([]string, 3, 3+len(messages)), Args: make([]string, 1, 1+5*len(messages))}
	call.Keys[0], call.Keys[1], call.Keys[2] = p.stream, p.delayed, p.later
	call.Args[0] = "0"
	if d.opt.Dedup != NoDedup {
		call.Args[0] = millis(d.opt.Dedup)
	}
	for _, m := range messages {
		mark, digest, due := p.delayed, "", "0"
		if d.remembers(m) {
			mark, digest = d.space.Sibling(p.tag, "id:"+scoped(m.channel, m.id)), m.digest
		}
		if !m.at.IsZero() {
			due = strconv.FormatInt(max(m.at.UnixMilli(), 1), 10)
		}
		call.Keys = append(call.Keys, mark)
		call.Args = append(call.Args, scoped(m.channel, m.id), m.text, digest, millis(max(m.delay, 0)), due)
	}
	return call
}

// digestOf returns a digest of the content of an event. The time and the trace are left out,
// because they differ when an event is published again.
func digestOf(e *envelope) string {
	sum := sha256.New()
	for _, part := range [...]string{e.Type, e.Source} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	sum.Write(e.Data)
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:12])
}

const (
	batchEvents = 128       // most events of one call
	batchBytes  = 256 << 10 // most bytes of one call; a larger event is sent alone
)

// sendMany stores messages in few round trips, and returns one error per message. The messages of a
// channel are stored in order. After an error of the server, the later messages of the partition
// are not sent and get the same error.
func (d *Durable) sendMany(ctx context.Context, messages []*message) []error {
	errs := make([]error, len(messages))
	if err := d.check(ctx); err != nil {
		for i := range errs {
			errs[i] = err
		}
		return errs
	}

	waiting := make(map[*partition][]int) // indexes of messages, in order
	for i, m := range messages {
		p := d.partition(m.channel)
		waiting[p] = append(waiting[p], i)
	}
	for len(waiting) > 0 {
		d.sendRound(ctx, messages, waiting, errs)
	}
	return errs
}

// sendRound sends at most one call per partition. A second call could succeed after the first has
// failed, and break the order.
func (d *Durable) sendRound(ctx context.Context, messages []*message, waiting map[*partition][]int, errs []error) {
	var parts []*partition
	var sent [][]int
	var calls []core.Call
	for p, indexes := range waiting {
		n, bytes := 0, 0
		var some []*message
		for _, i := range indexes {
			if bytes += len(messages[i].text); n == batchEvents || n > 0 && bytes > batchBytes {
				break
			}
			some = append(some, messages[i])
			n++
		}
		parts, sent, calls = append(parts, p), append(sent, indexes[:n]), append(calls, d.publishCall(p, some))
	}

	for k, r := range d.core.EvalMulti(ctx, publishScript, calls) {
		p, indexes := parts[k], sent[k]
		words, err := wordsOf(r, len(indexes))
		if err != nil {
			for _, i := range waiting[p] {
				errs[i] = err
			}
			delete(waiting, p)
			continue
		}
		for j, i := range indexes {
			errs[i] = d.accept(p, messages[i], words[j])
		}
		d.addedTo(p, len(indexes))
		if waiting[p] = waiting[p][len(indexes):]; len(waiting[p]) == 0 {
			delete(waiting, p)
		}
	}
}

func wordsOf(r core.Result, n int) ([]string, error) {
	reply, err := r.Get()
	if err != nil {
		return nil, err
	}
	text, err := reply.ToString()
	if err != nil {
		return nil, err
	}
	if words := strings.Fields(text); len(words) == n {
		return words, nil
	}
	return nil, unexpected("a batch of events", fmt.Errorf("%q for %d events", text, n))
}

// Batch collects events for [Durable.PublishBatch]. The zero value is empty. A Batch is not safe
// for concurrent use.
type Batch struct {
	items []batchItem
}

type batchItem struct {
	eventType, channel string
	data               any
	opts               []PublishOption
}

// AddToBatch adds an event of this topic to a batch. The option [Confirm] is an error of
// PublishBatch.
func (t Topic[T]) AddToBatch(b *Batch, channel string, data T, opts ...PublishOption) {
	b.items = append(b.items, batchItem{t.eventType, channel, data, opts})
}

// Len returns the number of events in the batch.
func (b *Batch) Len() int { return len(b.items) }

// BatchError has the errors of the events of a batch that were not published, by index.
type BatchError struct{ Errors map[int]error }

// Error returns the number of errors, and the first one.
func (e *BatchError) Error() string {
	for _, i := range slices.Sorted(maps.Keys(e.Errors)) {
		return fmt.Sprintf("events: publish batch: %d events failed, first number %d: %v", len(e.Errors), i,
			e.Errors[i])
	}
	return "events: publish batch: no event failed"
}

// Unwrap returns the errors of the events, in the order of the batch.
func (e *BatchError) Unwrap() []error {
	all := make([]error, 0, len(e.Errors))
	for _, i := range slices.Sorted(maps.Keys(e.Errors)) {
		all = append(all, e.Errors[i])
	}
	return all
}

// PublishBatch publishes the events of a batch. It takes one round trip for up to 128 events or 256
// KiB per partition. The events of a channel are stored in order. When the server refuses an event,
// the later events of its partition are not sent. A batch can have any size: at most 8 MiB are
// encoded at a time. Errors: a [*BatchError]; [ErrClosed].
func (d *Durable) PublishBatch(ctx context.Context, b *Batch) (err error) {
	if d.core.Observed() {
		var end func(error)
		ctx, end = d.core.Start(ctx, observe.Operation{Pattern: "events", Name: d.name, Verb: "publish batch"})
		defer func() { end(err) }()
	}
	if err := d.life.open(); err != nil {
		return fmt.Errorf("events: publish a batch: %w", err)
	}
	s := batchSend{d: d, failed: make(map[int]error), stopped: make(map[*partition]error)}
	for i, item := range b.items {
		m, err := newMessage(ctx, d, item.eventType, item.channel, item.data, item.opts)
		if err == nil && m.confirm != (Confirmation{}) {
			err = errors.New("events: publish: the option Confirm is set: a batch can't honour it: use Publish")
		}
		if err != nil {
			s.failed[i] = err
			continue
		}
		s.add(ctx, i, m)
	}
	s.flush(ctx)

	if len(s.failed) > 0 {
		return &BatchError{s.failed}
	}
	return nil
}

// batchEncoded is how many bytes of envelopes PublishBatch holds at a time.
const batchEncoded = 8 << 20

// batchSend is the state of one PublishBatch.
type batchSend struct {
	d        *Durable
	messages []*message
	at       []int // the indexes of messages in the batch
	bytes    int
	failed   map[int]error
	stopped  map[*partition]error // the error of each partition whose event was refused
}

func (s *batchSend) add(ctx context.Context, i int, m *message) {
	if s.bytes+len(m.text) > batchEncoded {
		s.flush(ctx)
	}
	if err := s.stopped[s.d.partition(m.channel)]; err != nil {
		s.fail(i, m.channel, err)
		return
	}
	s.messages, s.at, s.bytes = append(s.messages, m), append(s.at, i), s.bytes+len(m.text)
}

func (s *batchSend) fail(i int, channel string, err error) {
	s.d.stats.publishErrors.Add(1)
	s.failed[i] = fmt.Errorf("events: publish to %q: %w", channel, err)
}

// flush sends the added messages.
func (s *batchSend) flush(ctx context.Context) {
	for k, err := range s.d.sendMany(ctx, s.messages) {
		if err == nil {
			s.d.stats.published.Add(1)
			continue
		}
		s.fail(s.at[k], s.messages[k].channel, err)
		if !errors.Is(err, ErrConflict) {
			s.stopped[s.d.partition(s.messages[k].channel)] = err
		}
	}
	clear(s.messages)
	s.messages, s.at, s.bytes = s.messages[:0], s.at[:0], 0
}
