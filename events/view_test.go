package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/eventview"
	"github.com/redstart-go/redstart/internal/rig"
)

func view(t testing.TB, client *redstart.Client) eventview.Bus {
	t.Helper()
	bus, err := eventview.Open(t.Context(), clientcore.Of(client), "bus")
	must(t, err)
	return bus
}

// kill gives the group n dead letters, of the channels a0, a1, …
func kill(t testing.TB, bus *events.Durable, group string, n int) {
	t.Helper()
	sub := subscriber(t, bus, group, events.SubscriberOptions{})
	must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error {
		return events.Discard(errors.New("no such user"))
	}))
	stop := run(t, sub)
	for i := range n {
		must(t, notes.Publish(t.Context(), bus, fmt.Sprintf("a%d", i), note{N: i}))
	}
	rig.Eventually(t, 30*time.Second, "all events are dead letters", func() bool {
		got, err := bus.DeadLetters(group).Count(t.Context())
		must(t, err)
		return got == n
	})
	stop()
}

func TestViewOfAnUnusedBusIsAnError(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	if _, err := eventview.Open(t.Context(), clientcore.Of(client), "bus"); !errors.Is(err, eventview.ErrNoBus) {
		t.Errorf("%v, want ErrNoBus", err)
	}
}

// A view reads each stored event within its budget: events of this release, of another program, of
// another format, and a large one.
func TestViewReadsAllFormats(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 1, Text: "small"}))
	must(t, notes.Publish(t.Context(), bus, "a", note{N: 2, Text: strings.Repeat("l", 200_000)}))
	conn := rig.Shared(t).Conn(t)
	stream := bus.StreamOf("a")
	conn.CLI("XADD", stream, "*", "c", "a", "e2", "\x00next")
	conn.CLI("XADD", stream, "*", "some", "other", "program", "<b>\x1b[31m")
	conn.CLI("XADD", stream, "*", "c", "a", "e1", "not JSON")

	page := view(t, client).Read(t.Context(), []eventview.Read{{Limit: 10, Bytes: 1 << 20, Data: true}})[0]
	must(t, page.Err)
	if len(page.Events) != 5 || !page.End {
		t.Fatalf("%d events, end %v, want 5 and the end", len(page.Events), page.End)
	}
	small, large, next, other, broken := page.Events[0], page.Events[1], page.Events[2], page.Events[3], page.Events[4]
	if string(small.Data) != `{"n":1,"text":"small"}` || small.Type != "note" || small.Channel != "a" || small.Problem != "" {
		t.Errorf("the small event: %+v", small)
	}
	if large.Data != nil || large.Type != "note" || large.DataBytes != len(`{"n":2,"text":""}`)+200_000 || large.Size < 200_000 {
		t.Errorf("the large event: type %q, %d bytes of data, %d bytes, %q", large.Type, large.DataBytes, large.Size, large.Problem)
	}
	for _, e := range []eventview.Event{next, other, broken} {
		if e.Problem == "" || e.Data != nil || e.ID != "" {
			t.Errorf("an entry of another format: %+v", e)
		}
	}
	if next.Format != "e2" || other.Format != "?" {
		t.Errorf("formats %q and %q, want e2 and ?", next.Format, other.Format)
	}

	masked := view(t, client).Read(t.Context(), []eventview.Read{{Limit: 1, Bytes: 1 << 20}})[0]
	must(t, masked.Err)
	if e := masked.Events[0]; e.Data != nil || e.ID != small.ID || e.DataBytes != len(small.Data) {
		t.Errorf("a read without data: %+v", e)
	}
}

// One read returns at most its budget of stored bytes, or one larger event.
func TestViewReadsWithinItsBudget(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	for i := range 40 {
		must(t, notes.Publish(t.Context(), bus, "a", note{N: i, Text: strings.Repeat("l", 10_000)}))
	}
	v := view(t, client)
	for _, newest := range []bool{false, true} {
		var seen []string
		after := ""
		for end := false; !end; {
			page := v.Read(t.Context(), []eventview.Read{{Newest: newest, After: after, Limit: 100, Bytes: 50_000}})[0]
			must(t, page.Err)
			if n := len(page.Events); n > 10 || n == 0 && !page.End {
				t.Fatalf("%d events of 10 kB in a page of 50 kB", n)
			}
			for _, e := range page.Events {
				seen = append(seen, e.Position)
			}
			if end = page.End; !end {
				after = page.Last
			}
		}
		if slices.Sort(seen); len(slices.Compact(seen)) != 40 {
			t.Errorf("newest %v: %d events, want 40", newest, len(seen))
		}
	}
}

func TestViewPagesAndRepairsDeadLetters(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{})
	const n = 23
	kill(t, bus, "mail", n)
	v := view(t, client)
	foreign := bus.DeadOf("mail", "a0")
	rig.Shared(t).Conn(t).CLI("XADD", foreign, "*", "id", "another program")

	var ids []string
	problems := 0
	for after, more := "", true; more; {
		page, err := v.Dead(t.Context(), "mail", after, 5, true)
		must(t, err)
		if len(page.Items) > 5 {
			t.Fatalf("a page of %d, want at most 5", len(page.Items))
		}
		for _, l := range page.Items {
			ids = append(ids, l.Letter)
			if l.Event.Problem != "" {
				problems++
			} else if l.Cause != "no such user" || l.Attempts != 1 || l.Died.IsZero() || l.Event.Type != "note" || len(l.Event.Data) == 0 {
				t.Errorf("a dead letter: %+v", l)
			}
		}
		after, more = page.Next, page.Next != ""
	}
	if slices.Sort(ids); len(slices.Compact(ids)) != n+1 || problems != 1 {
		t.Fatalf("%d dead letters with %d of another program, want %d and 1", len(ids), problems, n+1)
	}

	if got, err := v.RedriveAll(t.Context(), "mail"); err != nil || got != n {
		t.Errorf("redrove %d, %v, want %d: the entry of another program stays", got, err, n)
	}
	g, known, err := v.Group(t.Context(), "mail")
	must(t, err)
	if !known || g.Counts.Dead != 1 || g.Counts.Parked != n {
		t.Errorf("%+v, want 1 dead and %d parked", g.Counts, n)
	}
	if got, err := v.DropAll(t.Context(), "mail"); err != nil || got != 1 {
		t.Errorf("dropped %d, %v, want 1", got, err)
	}
	blocked, err := v.Blocked(t.Context(), "mail", 10)
	must(t, err)
	if len(blocked) != 10 || blocked[0].Waiting != 1 || blocked[0].Head == "" || blocked[0].Held {
		t.Errorf("%d blocked channels, the first %+v", len(blocked), blocked)
	}
}

func TestViewDescribesGroupsAndPartitions(t *testing.T) {
	t.Parallel()
	client := open(t, rig.SharedCluster(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{})
	sub := subscriber(t, bus, "mail", events.SubscriberOptions{})
	hold := make(chan struct{})
	started := make(chan struct{}, 1)
	must(t, notes.Handle(sub, "*", func(context.Context, events.Event[note]) error {
		select {
		case started <- struct{}{}:
		default:
		}
		<-hold
		return nil
	}))
	stop := run(t, sub)
	must(t, notes.Publish(t.Context(), bus, "a", note{}))
	<-started

	v := view(t, client)
	groups, err := v.Groups(t.Context(), "", 10)
	must(t, err)
	if len(groups) != 1 || groups[0].Name != "mail" || groups[0].Processes != 1 || groups[0].Counts.Pending != 1 || groups[0].Oldest <= 0 {
		t.Errorf("groups %+v", groups)
	}
	parts, err := v.Describe(t.Context(), "mail", 0, 100)
	must(t, err)
	if len(parts) != 4 {
		t.Fatalf("%d partitions, want 4", len(parts))
	}
	for i, p := range parts {
		if p.Index != i || p.Owner != parts[0].Owner || len(p.Owner) != 32 || p.OwnerStarted.IsZero() || p.LeaseLeft <= 0 {
			t.Errorf("partition %d: %+v", i, p)
		}
	}
	if p := parts[bus.PartitionOf("a")]; p.Events != 1 || p.Counts.Pending != 1 || p.Groups != 1 {
		t.Errorf("the partition of the event: %+v", p)
	}

	for _, want := range []bool{true, false} {
		changed, err := v.SetPaused(t.Context(), "mail", true)
		if err != nil || changed != want {
			t.Errorf("pause: changed %v, %v, want %v", changed, err, want)
		}
	}
	if err := v.DropGroup(t.Context(), "mail"); !errors.Is(err, events.ErrRunning) {
		t.Errorf("drop of a running group: %v, want ErrRunning", err)
	}
	close(hold)
	stop()
	must(t, v.DropGroup(t.Context(), "mail"))
	if _, known, err := v.Group(t.Context(), "mail"); err != nil || known {
		t.Errorf("the group is known after its drop, %v", err)
	}
}

// RedriveAll and DropAll end, although each event that they redrive dies again.
func TestViewRepairsWhatIsThereAtTheBegin(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 1})
	const n = 25
	kill(t, bus, "mail", n)
	conn := rig.Shared(t).Conn(t)
	added := 0
	got, err := events.DropAllAround(t.Context(), view(t, client), "mail", func(key string, ids []string) {
		for range min(len(ids), 5*n-added) {
			conn.CLI("XADD", key, "*", "id", "1-1", "c", "a", "e1", "again")
			added++
		}
	})
	if err != nil || got != n {
		t.Errorf("repaired %d, %v, want %d", got, err, n)
	}
	if left, err := bus.DeadLetters("mail").Count(t.Context()); err != nil || left != n {
		t.Errorf("%d are left, %v, want %d that died again", left, err, n)
	}
}

// A page of a million dead letters reads one part of one stream, and answers within a second.
func TestViewPagesAMillionDeadLetters(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	client := open(t, server.URL(), rig.Prefix(t))
	bus := durable(t, client, events.DurableOptions{Partitions: 4})
	kill(t, bus, "mail", 1)
	conn := server.Conn(t)
	key := bus.DeadOf("mail", "a0")
	for range 100 {
		conn.CLI("EVAL", `for i = 1, 10000 do
			redis.call('XADD', KEYS[1], '*', 'id', '1-1', 'c', 'a0', 'e1', ARGV[1], 'cause', 'x', 'attempts', '1', 'at', '1')
		end`, "1", key, events.EnvelopeText("id", "note", "a0", "{}"))
	}
	v := view(t, client)
	watch := rig.Watch(t)
	page, err := v.Dead(t.Context(), "mail", "", 50, false)
	must(t, err)
	if len(page.Items) != 50 || page.Next == "" || page.Scanned > 100 {
		t.Errorf("%d dead letters, scanned %d, next %q", len(page.Items), page.Scanned, page.Next)
	}
	if took := watch.Took(); took > time.Second {
		t.Errorf("a page took %v, want at most 1 s", took)
	}
	last, err := v.Dead(t.Context(), "mail", page.Next, 50, false)
	must(t, err)
	if len(last.Items) != 50 || last.Items[0].Letter == page.Items[0].Letter {
		t.Errorf("the second page: %d dead letters", len(last.Items))
	}
}
