package events_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func soon(int) time.Duration { return 20 * time.Millisecond }

// A failing event has exactly MaxAttempts attempts, at least the backoff apart. Then it is one dead
// letter with the cause. Other channels are handled in the meantime.
func TestE3_AttemptsAreCounted(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1})
		const gap = 60 * time.Millisecond
		sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 3, Backoff: func(int) time.Duration { return gap }})
		got := newLog()
		var mu sync.Mutex
		var times []time.Time
		var attempts []int
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
			switch e.Data.Text {
			case "bad":
				mu.Lock()
				defer mu.Unlock()
				times, attempts = append(times, time.Now()), append(attempts, e.Attempt)
				return errors.New("the cause")
			case "panic":
				panic("the panic")
			case "discard":
				return events.Discard(errors.New("not wanted"))
			}
			got.add(e.Channel, e.Data.N)
			return nil
		}))
		must(t, events.NewTopic[string]("note").Handle(sub, "strings", func(context.Context, events.Event[string]) error { return nil }))
		run(t, sub)
		ctx := t.Context()
		must(t, notes.Publish(ctx, bus, "a", note{N: 0}))
		must(t, notes.Publish(ctx, bus, "a", note{N: -1, Text: "bad"}))
		must(t, notes.Publish(ctx, bus, "p", note{N: -1, Text: "panic"}))
		must(t, notes.Publish(ctx, bus, "d", note{N: -1, Text: "discard"}))
		must(t, notes.Publish(ctx, bus, "strings", note{}))
		for n := range 200 {
			must(t, notes.Publish(ctx, bus, "a", note{N: n + 1}))
			must(t, notes.Publish(ctx, bus, "b", note{N: n}))
		}
		got.inOrder(t, "b", 200)
		got.inOrder(t, "a", 201)
		dead := bus.DeadLetters("g")
		rig.Eventually(t, 10*time.Second, "four dead letters", func() bool { n, err := dead.Count(ctx); return err == nil && n == 4 })
		letters, err := dead.List(ctx, "", 10)
		must(t, err)
		causes := map[string]string{}
		for _, l := range letters {
			causes[l.Event.Channel] = l.Cause
			if want := map[string]int{"a": 3, "p": 3, "d": 1, "strings": 3}[l.Event.Channel]; l.Attempts != want ||
				l.Event.Type != "note" || l.Event.ID == "" {
				t.Errorf("dead letter %+v, want %d attempts", l, want)
			}
		}
		if causes["a"] != "the cause" || causes["d"] != "not wanted" ||
			!strings.Contains(causes["p"], "the panic") || !strings.Contains(causes["p"], "durable_test.go") ||
			!strings.Contains(causes["strings"], "does not fit *string") {
			t.Errorf("causes %v", causes)
		}
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(attempts, []int{1, 2, 3}) {
			t.Errorf("attempts %v", attempts)
		}
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < gap-time.Millisecond { // the server counts whole milliseconds
				t.Errorf("attempt %d came %v after the one before, the backoff is %v", i+1, d, gap)
			}
		}
		if s := sub.Stats(); s.DeadLettered != 4 || s.Panics != 3 || s.Failed != 10 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestDeadLettersCanBeRedrivenAndDropped(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 2})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: 1})
		other := subscriber(t, bus, "other:%", events.SubscriberOptions{})
		var restored atomic.Bool
		var others atomic.Int64
		got := newLog()
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
			if !restored.Load() {
				return errors.New("no")
			}
			got.add(e.Channel, e.Data.N)
			return nil
		}))
		must(t, notes.Handle(other, "*", func(context.Context, events.Event[note]) error { others.Add(1); return nil }))
		run(t, sub)
		run(t, other)
		ctx := t.Context()
		const n = 20
		for i := range n {
			must(t, notes.Publish(ctx, bus, "a", note{N: i}))
			must(t, notes.Publish(ctx, bus, fmt.Sprintf("c%d", i), note{N: i}))
		}
		dead := bus.DeadLetters("g")
		rig.Eventually(t, 20*time.Second, "dead letters", func() bool { c, err := dead.Count(ctx); return err == nil && c == 2*n })
		var all []events.DeadLetter
		for after := ""; ; {
			page, err := dead.List(ctx, after, 7)
			must(t, err)
			if all = append(all, page...); len(page) < 7 {
				break
			}
			after = page[6].ID
		}
		if len(all) != 2*n {
			t.Fatalf("listed %d of %d", len(all), 2*n)
		}
		var drop []string
		for _, l := range all {
			if l.Event.Channel != "a" {
				drop = append(drop, l.ID)
			}
		}
		if c, err := dead.Drop(ctx, drop...); err != nil || c != n {
			t.Fatalf("dropped %d, %v", c, err)
		}
		restored.Store(true)
		if c, err := dead.RedriveAll(ctx); err != nil || c != n {
			t.Fatalf("redriven %d, %v", c, err)
		}
		got.inOrder(t, "a", n)
		if c, _ := dead.Count(ctx); c != 0 {
			t.Errorf("%d dead letters are left", c)
		}
		if _, err := dead.Redrive(ctx, "x"); !errors.Is(err, events.ErrNotFound) {
			t.Errorf("Redrive of no ID: %v", err)
		}
		if others.Load() != 2*n {
			t.Errorf("the other group got %d events, want %d", others.Load(), 2*n)
		}
	})
}

// 100,000 events of one channel wait behind a failing event. They wait on the server and not in the
// process, and other channels are handled.
func TestE4_ParkedBehindARetry(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	var poison, seenAfter atomic.Int64
	var good atomic.Bool
	sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts,
		Backoff: func(int) time.Duration { return 200 * time.Millisecond }})
	got := newLog()
	must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
		if e.Channel == "stuck" {
			if !good.Load() {
				if e.Data.N != 0 {
					seenAfter.Add(1)
				}
				poison.Add(1)
				return errors.New("poison")
			}
			got.add("stuck", e.Data.N)
			return nil
		}
		got.add(e.Channel, e.Data.N)
		return nil
	}))
	run(t, sub)
	const n = 100_000
	must(t, notes.Publish(t.Context(), bus, "stuck", note{}))
	publishMany(t, client, bus, "stuck", 1, n)
	var most int64
	for i := range 100 {
		must(t, notes.Publish(t.Context(), bus, "free", note{N: i}))
		most = max(most, sub.Stats().Held)
	}
	got.inOrder(t, "free", 100)
	rig.Eventually(t, 60*time.Second, "all parked", func() bool {
		most = max(most, sub.Stats().Held)
		return sub.Stats().Received >= n+101
	})
	if most > 1200 {
		t.Errorf("up to %d events were held in the process", most)
	}
	if poison.Load() < 2 || seenAfter.Load() != 0 {
		t.Errorf("%d attempts of the poison event, %d of events behind it", poison.Load(), seenAfter.Load())
	}
	rig.Eventually(t, 20*time.Second, "what is parked is in Stats", func() bool { return sub.Stats().Waiting == n+1 })
	good.Store(true)
	rig.Eventually(t, 60*time.Second, "all handled", func() bool { return len(got.of("stuck")) >= n+1 })
	rig.Eventually(t, 20*time.Second, "nothing is parked", func() bool { return sub.Stats().Waiting == 0 })
	got.inOrder(t, "stuck", n+1)
}

// publishMany stores n events of a channel, in order and in pipelines.
func publishMany(t testing.TB, client *redstart.Client, bus *events.Durable, channel string, from, n int) {
	t.Helper()
	r := rigclient.Redis(t, client)
	for n > 0 {
		var cmds []rueidis.Completed
		for range min(n, 1000) {
			text := events.EnvelopeText(fmt.Sprint(from), "note", channel, fmt.Sprintf(`{"n":%d}`, from))
			cmds = append(cmds, r.B().Xadd().Key(bus.StreamOf(channel)).Id("*").FieldValue().FieldValue("c",
				channel).FieldValue("e1", text).Build())
			from++
		}
		n -= len(cmds)
		for _, reply := range r.DoMulti(t.Context(), cmds...) {
			must(t, reply.Error())
		}
	}
}

// The order of each channel holds with many channels, random failures and partitions that change
// their owner.
func TestE4_OrderSurvivesRetriesAndOwners(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		bus := durable(t, client, events.DurableOptions{Partitions: 8, Lease: time.Second})
		const channels = 20
		each := 60
		if e.Embedded != nil {
			each = 15 // the embedded engine is slow under the race detector
		}
		got := newLog()
		var inside [channels]atomic.Int32
		handle := func(_ context.Context, e events.Event[note]) error {
			var c int
			fmt.Sscanf(e.Channel, "c%d", &c)
			if inside[c].Add(1) > 1 {
				t.Errorf("two handlers at once on %s", e.Channel)
			}
			defer inside[c].Add(-1)
			if rand.IntN(20) == 0 {
				return errors.New("by chance")
			}
			if seen := got.of(e.Channel); e.Data.N >= len(seen) { // a repetition after a change of owner is allowed, an early event is not
				got.add(e.Channel, e.Data.N)
			}
			return nil
		}
		next := func() func() {
			sub := subscriber(t, bus, "g", events.SubscriberOptions{MaxAttempts: events.NoMaxAttempts, Backoff: soon})
			must(t, notes.Handle(sub, "*", handle))
			return run(t, sub)
		}
		stop := next()
		for n := range each {
			for c := range channels {
				publishUntil(t, bus, fmt.Sprintf("c%d", c), n)
			}
			if n%20 == 10 {
				other := next()
				stop()
				stop = other
			}
		}
		for c := range channels {
			got.inOrder(t, fmt.Sprintf("c%d", c), each)
		}
	})
}

func TestPartitionsAreFixedOnFirstUse(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		must(t, notes.Publish(t.Context(), durable(t, client, events.DurableOptions{Partitions: 4}), "a", note{}))
		bus := durable(t, client, events.DurableOptions{Partitions: 5})
		err := notes.Publish(t.Context(), bus, "a", note{})
		if !errors.Is(err, events.ErrPartitions) ||
			!strings.Contains(err.Error(), "first used with 4 partitions, DurableOptions.Partitions is 5") {
			t.Errorf("Publish: %v", err)
		}
		sub := subscriber(t, bus, "g", events.SubscriberOptions{})
		must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error { return nil }))
		if err := sub.Run(t.Context()); !errors.Is(err, events.ErrPartitions) {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestProducerDeduplicationInboxAndDelay(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Dedup: 2 * time.Second})
		once := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Dedup: events.NoDedup})
		sub := subscriber(t, bus, "g", events.SubscriberOptions{Inbox: time.Minute, Backoff: soon})
		got := newLog()
		var failed atomic.Bool
		must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error {
			if e.Channel == "inbox" && !failed.Swap(true) {
				return errors.New("the first attempt") // an id is remembered only after success
			}
			got.add(e.Channel, e.Data.N)
			return nil
		}))
		run(t, sub)
		ctx := t.Context()
		for range 5 {
			must(t, notes.Publish(ctx, bus, "dedup", note{}, events.ID("x")))
		}
		if s := bus.Stats(); s.Published != 5 || s.Duplicates != 4 {
			t.Errorf("stats %+v", s)
		}
		for c := range 20 { // the same id on other channels is another event, also in the same partition
			must(t, notes.Publish(ctx, bus, fmt.Sprint("other", c), note{}, events.ID("x")))
		}
		for c := range 20 {
			got.inOrder(t, fmt.Sprint("other", c), 1)
		}
		for range 5 { // the same id, stored five times
			must(t, notes.Publish(ctx, once, "inbox", note{}, events.ID("y")))
		}
		before := time.Now()
		must(t, notes.Publish(ctx, bus, "later", note{}, events.Delay(300*time.Millisecond)))
		must(t, notes.Publish(ctx, bus, "at", note{}, events.At(before.Add(300*time.Millisecond))))
		must(t, notes.Publish(ctx, bus, "past", note{}, events.At(before.Add(-time.Hour))))
		got.inOrder(t, "past", 1)
		got.inOrder(t, "later", 1)
		if d := time.Since(before); d < 300*time.Millisecond || d > 5*time.Second {
			t.Errorf("a delay of 300 ms took %v", d)
		}
		got.inOrder(t, "at", 1)
		rig.Eventually(t, 10*time.Second, "skipped", func() bool { return sub.Stats().Skipped == 4 })
		if len(got.of("dedup")) != 1 || len(got.of("inbox")) != 1 {
			t.Errorf("got %v and %v", got.of("dedup"), got.of("inbox"))
		}
	})
}

func TestStart(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := durable(t, open(t, e.URL, e.Namespace), events.DurableOptions{Partitions: 1, Retention: time.Hour})
		ctx := t.Context()
		var positions []string
		first := subscriber(t, bus, "first", events.SubscriberOptions{Start: events.FromBeginning()})
		got := newLog()
		must(t, notes.Handle(first, "*", func(_ context.Context, e events.Event[note]) error {
			positions = append(positions, e.Position)
			got.add("first", e.Data.N)
			return nil
		}))
		for n := range 10 {
			must(t, notes.Publish(ctx, bus, "a", note{N: n}))
		}
		stop := run(t, first)
		got.inOrder(t, "first", 10)
		stop()
		var ms int64
		fmt.Sscanf(positions[5], "%d-", &ms)
		for name, start := range map[string]events.Start{
			"now": events.FromNow(), "time": events.FromTime(time.UnixMilli(ms)),
			"position": events.FromPosition(positions[6]), "epoch": events.FromTime(time.UnixMilli(0)),
		} {
			sub := subscriber(t, bus, name, events.SubscriberOptions{Start: start})
			must(t, notes.Handle(sub, "*", func(_ context.Context, e events.Event[note]) error { got.add(name, e.Data.N); return nil }))
			run(t, sub)
		}
		must(t, notes.Publish(ctx, bus, "a", note{N: 10}))
		for name, want := range map[string]int{"now": 10, "position": 7, "epoch": 0} {
			rig.Eventually(t, 10*time.Second, name, func() bool { return slices.Contains(got.of(name), 10) })
			if all := got.of(name); all[0] != want || len(all) != 11-want {
				t.Errorf("%s got %v, want from %d", name, all, want)
			}
		}
		rig.Eventually(t, 10*time.Second, "time", func() bool { return slices.Contains(got.of("time"), 10) })
		if all := got.of("time"); all[0] > 5 {
			t.Errorf("time got %v, want from at most 5", all)
		}
		if _, err := bus.Subscriber("x", events.SubscriberOptions{Start: events.FromPosition("nonsense")}); err == nil {
			t.Error("a start at nonsense was accepted")
		}
	})
}
