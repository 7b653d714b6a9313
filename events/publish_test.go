package events_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// An id that is published again with other content is an error. With the same content, the event is
// stored once, although its time differs.
func TestPublishConflict(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{})
		var first, second events.Receipt
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}, events.ID("x"), events.Into(&first)))
		must(t, notes.Publish(t.Context(), bus, "a", note{N: 1}, events.ID("x"), events.Into(&second)))
		if first.ID != "x" || first.Position == "" || first.Duplicate || second != (events.Receipt{ID: "x", Duplicate: true}) {
			t.Errorf("receipts %+v %+v", first, second)
		}
		var third events.Receipt
		if err := notes.Publish(t.Context(), bus, "a", note{N: 2}, events.ID("x"),
			events.Into(&third)); !errors.Is(err, events.ErrConflict) || third != (events.Receipt{}) {
			t.Errorf("other content: %v, %+v", err, third)
		}
		must(t, notes.Publish(t.Context(), bus, "b", note{N: 2}, events.ID("x"))) // each channel has its own ids
		if s := bus.Stats(); s.Published != 3 || s.Duplicates != 1 || s.PublishErrors != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A duplicate does not change how long an id is remembered. The id of a delayed event is remembered
// until after it is due.
func TestPublishDuplicateKeepsTheMark(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	bus := durable(t, open(t, server.URL(), rig.Prefix(t)), events.DurableOptions{Dedup: time.Hour})
	expiry := func(id string) string {
		return strings.TrimSpace(server.CLI("PEXPIRETIME", bus.MarkOf("a", id)))
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{}, events.ID("late"), events.At(time.Now().Add(100*time.Hour))))
	late := expiry("late")
	if at, want := late, fmt.Sprint(time.Now().Add(100*time.Hour).UnixMilli()); len(at) != len(want) || at < want {
		t.Errorf("the mark expires at %s, before the event is due at %s", at, want)
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{}, events.ID("late")))
	if got := expiry("late"); got != late {
		t.Errorf("a duplicate without a delay moved the mark from %s to %s", late, got)
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{}, events.ID("now")))
	now := expiry("now")
	for began := time.Now(); time.Since(began) < 2*time.Millisecond; { // a mark that slides would get another expiry
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{}, events.ID("now"), events.Delay(time.Hour)))
	if got := expiry("now"); got != now {
		t.Errorf("a duplicate with a delay moved the mark from %s to %s", now, got)
	}

	// A duplicate that writes the remaining time, in place of the absolute time, can move the
	// expiry by 1 ms.
	var batch events.Batch
	for range 20_000 {
		notes.AddToBatch(&batch, "a", note{}, events.ID("now"))
	}
	must(t, bus.PublishBatch(t.Context(), &batch))
	if got := expiry("now"); got != now {
		t.Errorf("many duplicates moved the mark from %s to %s", now, got)
	}
}

// A batch is stored in order per channel, with one receipt per event. An invalid event fails alone.
func TestPublishBatch(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{MaxBytes: 256 << 10})
		sub, got := counting(t, bus, nil)
		run(t, sub)
		const channels, each = 5, 100
		var batch events.Batch
		receipts := make([]events.Receipt, channels*each)
		for i := range receipts {
			notes.AddToBatch(&batch, fmt.Sprint("c", i%channels), note{N: i / channels}, events.Into(&receipts[i]))
		}
		must(t, bus.PublishBatch(t.Context(), &batch))
		for i, r := range receipts {
			if r.Position == "" || r.ID == "" {
				t.Fatalf("receipt %d is %+v", i, r)
			}
		}
		for c := range channels {
			got.inOrder(t, fmt.Sprint("c", c), each)
		}
		batch = events.Batch{}
		notes.AddToBatch(&batch, "", note{})
		notes.AddToBatch(&batch, "d", note{N: 0}, events.ID("1"))
		notes.AddToBatch(&batch, "d", note{N: 9}, events.ID("1"))
		notes.AddToBatch(&batch, "d", note{Text: strings.Repeat("x", 300<<10)})
		notes.AddToBatch(&batch, "d", note{N: 1})
		err := bus.PublishBatch(t.Context(), &batch)
		failed, ok := errors.AsType[*events.BatchError](err)
		if !ok || len(failed.Errors) != 3 || failed.Errors[0] == nil ||
			!errors.Is(failed.Errors[2], events.ErrConflict) || failed.Errors[3] == nil {
			t.Errorf("%v", err)
		}
		got.inOrder(t, "d", 2)
	})
}

// A batch for all partitions takes one round trip: every partition has its script before the first
// reply.
func TestPublishBatchIsOneRoundTrip(t *testing.T) {
	t.Parallel()
	const channels, each, partitions = 64, 4, 16
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	bus := durable(t, open(t, proxy.URL(), "app"), events.DurableOptions{Partitions: partitions})
	var batch events.Batch
	used := map[int]bool{}
	for i := range channels * each {
		channel := fmt.Sprint("c", i%channels)
		used[bus.PartitionOf(channel)] = true
		notes.AddToBatch(&batch, channel, note{N: i})
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{}, events.ID("first"))) // the server has the script, and the bus exists
	before := server.CommandStats()["evalsha"]
	proxy.StallReplies()
	published := make(chan error, 1)
	go func() { published <- bus.PublishBatch(t.Context(), &batch) }()
	rig.Eventually(t, 20*time.Second, "all scripts have run",
		func() bool { return server.CommandStats()["evalsha"]-before >= int64(len(used)) })
	proxy.Resume()
	must(t, arrives(t, "the end of PublishBatch", published))
	if n := server.CommandStats()["evalsha"] - before; n != int64(len(used)) || len(used) < partitions/2 {
		t.Errorf("%d scripts for %d of %d partitions, want one each", n, len(used), partitions)
	}
}

// watched is data of 128 KiB. When it is encoded, it records how many events are encoded and not
// yet published.
type watched struct {
	bus  *events.Durable
	n    int
	most *int
}

func (p watched) MarshalJSON() ([]byte, error) {
	*p.most = max(*p.most, p.n-int(p.bus.Stats().Published))
	return []byte(`"` + strings.Repeat("x", 128<<10) + `"`), nil
}

// A large batch is encoded in parts. It holds at most 8 MiB, and its order is kept. An id that was
// published with other content fails alone, and the later parts are sent.
func TestPublishBatchIsEncodedInParts(t *testing.T) {
	t.Parallel()
	const many, most = 200, 8 << 20 / (128 << 10)
	bus := durable(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), events.DurableOptions{MaxBytes: 256 << 10})
	topic := events.NewTopic[watched]("watched")
	var batch events.Batch
	held, receipts := 0, make([]events.Receipt, many)
	must(t, topic.Publish(t.Context(), bus, "a", watched{bus, 0, &held}, events.ID("taken"), events.Source("another")))
	topic.AddToBatch(&batch, "a", watched{bus, 0, &held}, events.ID("taken"))
	for i := range many {
		topic.AddToBatch(&batch, "a", watched{bus, i, &held}, events.Into(&receipts[i]))
	}
	failed, ok := errors.AsType[*events.BatchError](bus.PublishBatch(t.Context(), &batch))
	if !ok || len(failed.Errors) != 1 || !errors.Is(failed.Errors[0], events.ErrConflict) {
		t.Errorf("%v, want ErrConflict of the first event alone", failed)
	}
	if held > most || held < most/2 {
		t.Errorf("%d events of 128 KiB were encoded and not published, want %d at most", held, most)
	}
	for i := 1; i < many; i++ {
		if !events.Before(receipts[i-1].Position, receipts[i].Position) {
			t.Fatalf("event %d is at %q, behind %q", i-1, receipts[i-1].Position, receipts[i].Position)
		}
	}
}

// repairing is data of 128 KiB. Its encoding may repair the server.
type repairing struct{ repair func() }

func (r repairing) MarshalJSON() ([]byte, error) {
	if r.repair != nil {
		r.repair()
	}
	return []byte(`"` + strings.Repeat("x", 128<<10) + `"`), nil
}

// The server refuses an event of a large batch, and accepts events again before the next part. The
// later events of the same partition are not sent, so the order is kept.
func TestPublishBatchStopsBehindARefusal(t *testing.T) {
	t.Parallel()
	server := rig.Shared(t)
	bus := durable(t, open(t, server.URL(), rig.Prefix(t)), events.DurableOptions{Partitions: 1, MaxBytes: 256 << 10})
	must(t, notes.Publish(t.Context(), bus, "b", note{}))
	stream := bus.StreamOf("a")
	server.CLI("DEL", stream)
	server.CLI("SET", stream, "no stream")
	topic := events.NewTopic[repairing]("repairing")
	var batch events.Batch
	const many = 100 // 128 KiB each: two parts
	for n := range many {
		data := repairing{}
		if n == many-1 { // encoded after the first part was sent
			data.repair = func() { server.CLI("DEL", stream) }
		}
		topic.AddToBatch(&batch, "a", data)
	}
	failed, ok := errors.AsType[*events.BatchError](bus.PublishBatch(t.Context(), &batch))
	if !ok || len(failed.Errors) != many {
		t.Errorf("%v, want an error for each of %d events", failed, many)
	}
	if s := bus.Stats(); s.Published != 1 || s.PublishErrors != many {
		t.Errorf("%d published, %d errors; want 1 and %d", s.Published, s.PublishErrors, many)
	}
	must(t, notes.Publish(t.Context(), bus, "a", note{})) // the server accepts events
}
