package inspect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestEventsShowBusesGroupsAndPartitions(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		ctx := t.Context()
		bus, e := newBus(t, p.service, "orders"), p.looks.Events()
		other := newBus(t, p.service, "a:{*}\x00\x1b[31m")
		must(t, orders.Publish(ctx, other, "x", order{}))
		release, started := make(chan struct{}), make(chan struct{}, 8)
		stop := runGroup(t, bus, "mail", events.SubscriberOptions{}, func(ctx context.Context, _ events.Event[order]) error {
			started <- struct{}{}
			<-release
			return nil
		})
		defer stop()
		must(t, orders.Publish(ctx, bus, "order:7", order{N: 7}))
		<-started

		var buses []string
		for _, b := range pages(t, 1, func(page inspect.Page) (inspect.List[inspect.BusInfo], error) { return e.Buses(ctx, page) }) {
			if b.Partitions != 4 || b.Problem != "" {
				t.Errorf("bus %+v", b)
			}
			buses = append(buses, b.Name)
		}
		if slices.Sort(buses); !slices.Equal(buses, []string{"a:{*}\x00\x1b[31m", "orders"}) {
			t.Errorf("buses %q", buses)
		}

		groups, err := e.Groups(ctx, "orders", inspect.Page{})
		must(t, err)
		if len(groups.Items) != 1 || !groups.Complete {
			t.Fatalf("groups %+v", groups)
		}
		if g := groups.Items[0]; g.Name != "mail" || g.Processes != 1 || g.Pending != 1 || g.Oldest <= 0 ||
			g.Seen.IsZero() || !g.PausedSince.IsZero() {
			t.Errorf("group %+v", g)
		}
		parts := pages(t, 3, func(page inspect.Page) (inspect.List[inspect.PartitionInfo], error) {
			return e.Partitions(ctx, "orders", "mail", page)
		})
		if len(parts) != 4 {
			t.Fatalf("%d partitions, want 4", len(parts))
		}
		pending := int64(0)
		for i, part := range parts {
			if part.Partition != i || len(part.Owner) != 32 || part.OwnerStarted.IsZero() || part.LeaseLeft <= 0 {
				t.Errorf("partition %+v", part)
			}
			pending += part.Pending
		}
		if pending != 1 {
			t.Errorf("%d events are pending, want 1", pending)
		}
		close(release)
	})
}

func TestEventsPeekInOrderAndPages(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		ctx := t.Context()
		bus, e := newBus(t, p.service, "orders"), p.looks.Events()
		const n = 60
		for i := range n {
			must(t, orders.Publish(ctx, bus, fmt.Sprintf("order:%d", i%7), order{N: i}))
		}
		for _, oldest := range []bool{true, false} {
			peek := func(o inspect.PeekOptions) []inspect.EventInfo {
				return pages(t, 7, func(page inspect.Page) (inspect.List[inspect.EventInfo], error) {
					return e.Peek(ctx, "orders", o, page)
				})
			}
			all := peek(inspect.PeekOptions{Oldest: oldest, Data: true})
			seen := map[string]bool{}
			for i, ev := range all {
				seen[string(ev.Data)] = true
				if ev.Type != "order.paid" || ev.Problem != "" || ev.DataBytes != len(ev.Data) {
					t.Errorf("event %+v", ev)
				}
				if i == 0 {
					continue
				}
				first, second := all[i-1].Position, ev.Position
				if !oldest {
					first, second = second, first
				}
				if positionLess(second, first) {
					t.Errorf("oldest first %v: %s follows %s", oldest, ev.Position, all[i-1].Position)
				}
			}
			if len(all) != n || len(seen) != n {
				t.Errorf("oldest first %v: %d events, %d different, want %d", oldest, len(all), len(seen), n)
			}

			one := peek(inspect.PeekOptions{Oldest: oldest, Channel: "order:3"})
			if len(one) != n/7+1 {
				t.Errorf("%d events of one channel, want %d", len(one), n/7+1)
			}
			for _, ev := range one {
				if ev.Channel != "order:3" || ev.Data != nil || ev.DataBytes == 0 {
					t.Errorf("event %+v", ev)
				}
			}
		}
		if _, err := e.Peek(ctx, "orders", inspect.PeekOptions{Partitions: []int{4}}, inspect.Page{}); err == nil {
			t.Error("a partition that the bus does not have is no error")
		}
		if _, err := e.Peek(ctx, "nothing", inspect.PeekOptions{}, inspect.Page{}); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("an unknown bus: %v", err)
		}
	})
}

// Events of several partitions may have the same position, and the bytes of one partition may
// exceed its budget. No page skips or repeats an event.
func TestEventsPeekSkipsNothing(t *testing.T) {
	t.Parallel()
	namespace := rig.Prefix(t)
	client := open(t, rig.Shared(t).URL(), namespace)
	bus, conn := newBus(t, client, "orders"), rig.Shared(t).Conn(t)
	must(t, bus.Pause(t.Context(), "mail"))
	conn.CLI("HSET", namespace+":events:orders:{bus}", "partitions", "4")
	for i := range 5 {
		for partition := range 4 {
			body := "{}"
			if partition == 0 {
				body = strings.Repeat("x", 400_000)
			}
			conn.CLI("XADD", fmt.Sprint(namespace, ":events:orders:{", partition, "}"), fmt.Sprint(i+1, "-0"), "c", "a", "e1", body)
		}
	}
	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	must(t, err)
	for _, oldest := range []bool{true, false} {
		for _, limit := range []int{1, 2, 3, 4, 5, 7, 30} {
			seen := map[string]int{}
			all := pages(t, limit, func(p inspect.Page) (inspect.List[inspect.EventInfo], error) {
				return in.Events().Peek(t.Context(), "orders", inspect.PeekOptions{Oldest: oldest}, p)
			})
			for _, ev := range all {
				seen[fmt.Sprint(ev.Partition, " ", ev.Position)]++
			}
			if len(all) != 20 || len(seen) != 20 {
				t.Errorf("oldest first %v, limit %d: %d events, %d different, want 20", oldest, limit, len(all), len(seen))
			}
		}
	}
}

func positionLess(a, b string) bool {
	var ams, aseq, bms, bseq uint64
	fmt.Sscanf(a, "%d-%d", &ams, &aseq)
	fmt.Sscanf(b, "%d-%d", &bms, &bseq)
	return ams < bms || ams == bms && aseq < bseq
}

func TestEventsRepairDeadLetters(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		ctx := t.Context()
		bus := newBus(t, p.service, "orders")
		const n = 12
		kill(t, bus, "mail", n)
		list := func() []inspect.DeadInfo {
			return pages(t, 5, func(page inspect.Page) (inspect.List[inspect.DeadInfo], error) {
				return p.looks.Events().Dead(ctx, "orders", "mail", page)
			})
		}
		dead := list()
		if len(dead) != n {
			t.Fatalf("%d dead letters, want %d", len(dead), n)
		}
		for _, d := range dead {
			if d.Cause != "no address: the order has no customer" || d.Attempts != 1 || d.Died.IsZero() || d.Event.Data != nil ||
				!strings.HasPrefix(d.Event.Channel, "order:") {
				t.Errorf("dead letter %+v", d)
			}
		}
		one, err := p.looks.Events().DeadLetter(ctx, "orders", "mail", dead[0].ID)
		must(t, err)
		if !json.Valid(one.Event.Data) || one.Event.ID != dead[0].Event.ID {
			t.Errorf("dead letter %+v", one)
		}
		for _, id := range []string{"", "x", "0.1-1", "999.1-1", "0.1-1\x00"} {
			if _, err := p.looks.Events().DeadLetter(ctx, "orders", "mail", id); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("dead letter %q: %v", id, err)
			}
		}

		e := p.repairs.Events()
		for what, got := range map[string]func() (int, error){
			"redrive": func() (int, error) { return e.Redrive(ctx, "orders", "mail", dead[0].ID) },
			"drop":    func() (int, error) { return e.Drop(ctx, "orders", "mail", dead[1].ID, dead[2].ID) },
		} {
			if n, err := got(); err != nil || n < 1 {
				t.Errorf("%s: %d, %v", what, n, err)
			}
		}
		if left := len(list()); left != n-3 {
			t.Errorf("%d dead letters are left, want %d", left, n-3)
		}
		blocked, err := p.looks.Events().Blocked(ctx, "orders", "mail", inspect.Page{})
		must(t, err)
		if len(blocked.Items) != 1 || blocked.Items[0].Channel != dead[0].Event.Channel || blocked.Items[0].Head != dead[0].Event.Position {
			t.Errorf("blocked %+v", blocked)
		}
		for _, data := range []bool{true, false} {
			waiting := pages(t, 1, func(page inspect.Page) (inspect.List[inspect.WaitingEvent], error) {
				return p.looks.Events().Waiting(ctx, "orders", "mail", dead[0].Event.Channel, data, page)
			})
			if len(waiting) != 1 || waiting[0].ID != dead[0].Event.ID || (waiting[0].Data != nil) != data || waiting[0].Problem != "" {
				t.Errorf("waiting %+v", waiting)
			}
		}
		if got, err := e.RedriveAll(ctx, "orders", "mail"); err != nil || got != n-3 {
			t.Errorf("redrove %d, %v, want %d", got, err, n-3)
		}
		if got, err := e.DropAll(ctx, "orders", "mail"); err != nil || got != 0 {
			t.Errorf("dropped %d, %v, want 0", got, err)
		}
		if _, err := e.Redrive(ctx, "orders", "mail"); err == nil {
			t.Error("a redrive without ids is no error")
		}
		records := p.log.records(t)
		slices.Sort(records)
		want := []string{
			"ana events drop orders mail 2",
			fmt.Sprintf("ana events redrive all orders mail %d", n-3), "ana events redrive orders mail " + dead[0].ID + " 1",
		}
		if !slices.Equal(records, want) {
			t.Errorf("the log has %q, want %q", records, want)
		}
	})
}

func TestEventsPauseResumeAndDropGroup(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		ctx := t.Context()
		bus, e := newBus(t, p.service, "orders"), p.repairs.Events()
		stop := runGroup(t, bus, "mail", events.SubscriberOptions{}, func(context.Context, events.Event[order]) error { return nil })
		for _, want := range []bool{true, false} {
			if changed, err := e.Pause(ctx, "orders", "mail"); err != nil || changed != want {
				t.Errorf("pause: %v, %v, want %v", changed, err, want)
			}
		}
		g, err := p.looks.Events().Group(ctx, "orders", "mail")
		must(t, err)
		if g.PausedSince.IsZero() {
			t.Error("the group is not shown as paused")
		}
		for _, want := range []bool{true, false} {
			if changed, err := e.Resume(ctx, "orders", "mail"); err != nil || changed != want {
				t.Errorf("resume: %v, %v, want %v", changed, err, want)
			}
		}
		if err := e.DropGroup(ctx, "orders", "mail"); !errors.Is(err, events.ErrRunning) {
			t.Errorf("drop of a running group: %v", err)
		}
		stop()
		must(t, e.DropGroup(ctx, "orders", "mail"))
		if err := e.DropGroup(ctx, "orders", "mail"); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("a second drop: %v", err)
		}

		e = p.looks.Events()
		_, err1 := e.Pause(ctx, "orders", "mail")
		_, err2 := e.RedriveAll(ctx, "orders", "mail")
		_, err3 := e.Drop(ctx, "orders", "mail", "0.1-1")
		for _, err := range []error{err1, err2, err3, e.DropGroup(ctx, "orders", "mail")} {
			if !errors.Is(err, inspect.ErrReadOnly) {
				t.Errorf("a repair of a read-only Inspector: %v", err)
			}
		}
	})
}

func TestEventsTailYieldsWhatIsPublished(t *testing.T) {
	t.Parallel()
	onPlaces(t, nil, func(t *testing.T, p place) {
		bus := newBus(t, p.service, "orders")
		must(t, orders.Publish(t.Context(), bus, "order:1", order{N: 1}))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		got, ended := make(chan inspect.EventInfo, 100), make(chan struct{})
		go func() {
			defer close(ended)
			for ev, err := range p.looks.Events().Tail(ctx, "orders", inspect.TailOptions{Every: 10 * time.Millisecond, Data: true}) {
				if err != nil {
					t.Error(err)
				}
				got <- ev
			}
		}()
		// Publish until the tail has begun.
		first := inspect.EventInfo{}
		for n := 2; first.ID == ""; n++ {
			must(t, orders.Publish(ctx, bus, "order:1", order{N: n}))
			select {
			case first = <-got:
			case <-time.After(20 * time.Millisecond):
			}
		}
		if string(first.Data) == `{"n":1}` {
			t.Error("the tail began before now")
		}
		must(t, orders.Publish(ctx, bus, "order:2", order{N: -1}))
		for {
			if ev := <-got; string(ev.Data) == `{"n":-1}` {
				break
			}
		}
		cancel()
		<-ended

		var n []string
		o := inspect.TailOptions{From: "0-0", Limit: 2, Channel: "order:1", Data: true}
		for ev, err := range p.looks.Events().Tail(t.Context(), "orders", o) {
			must(t, err)
			n = append(n, string(ev.Data))
		}
		if !slices.Equal(n, []string{`{"n":1}`, `{"n":2}`}) {
			t.Errorf("from the begin: %q", n)
		}
		for _, err := range p.looks.Events().Tail(t.Context(), "nothing", inspect.TailOptions{}) {
			if !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("tail of an unknown bus: %v", err)
			}
			break
		}
	})
}

// Tail reports an outage, and continues behind the last event when the server is back.
func TestEventsTailContinuesAfterAnOutage(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t, "--appendonly", "yes", "--appendfsync", "always")
	client := open(t, server.URL(), rig.Prefix(t))
	bus := newBus(t, client, "orders")
	must(t, orders.Publish(t.Context(), bus, "order:1", order{N: 1}))
	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	must(t, err)
	var got []string
	failures := 0
	o := inspect.TailOptions{From: "0-0", Limit: 2, Data: true, Every: 10 * time.Millisecond}
	for ev, err := range in.Events().Tail(t.Context(), "orders", o) {
		switch {
		case err == nil:
			if got = append(got, string(ev.Data)); len(got) == 1 {
				server.Kill()
			}
		case !errors.Is(err, redstart.ErrUnavailable):
			t.Fatal(err)
		default:
			if failures++; failures == 1 {
				server.Restart()
				rig.Eventually(t, 30*time.Second, "an event is published", func() bool {
					return orders.Publish(t.Context(), bus, "order:1", order{N: 2}, events.ID("second")) == nil
				})
			}
		}
	}
	if failures == 0 || !slices.Equal(got, []string{`{"n":1}`, `{"n":2}`}) {
		t.Errorf("%d failures, events %q", failures, got)
	}
}

// Keys of other programs at the places of a bus never crash: they are errors, or shown as such.
func TestEventsOfForeignKeys(t *testing.T) {
	t.Parallel()
	namespace := rig.Prefix(t)
	client := open(t, rig.Shared(t).URL(), namespace)
	in, err := inspect.New(client, inspect.Options{Actor: "ana"})
	must(t, err)
	conn, e, ctx := rig.Shared(t).Conn(t), in.Events(), t.Context()
	prefix := namespace + ":events:"
	conn.CLI("HSET", prefix+"zero:{bus}", "partitions", "0")
	conn.CLI("HSET", prefix+"text:{bus}", "partitions", "<script>")
	conn.CLI("HSET", prefix+"huge:{bus}", "partitions", "99999999999")
	conn.CLI("HSET", prefix+"none:{bus}", "other", "1")
	conn.CLI("SET", prefix+"list:{bus}", "x")
	conn.CLI("HSET", prefix+"stream:{bus}", "partitions", "2")
	conn.CLI("SET", prefix+"stream:{0}", "no stream")
	conn.CLI("SADD", prefix+"stream:{1}:groups", strings.Repeat("g", 1<<20), "\x1b]0;x\x07<b>", "mail")
	conn.CLI("SET", prefix+"stream:{1}:lease:mail", "not a token")
	conn.CLI("XADD", prefix+"stream:{1}:dead:mail", "1-1", "a", "b")
	conn.CLI("XADD", prefix+"stream:{1}", "1-1", "c", "ch", "e9", "\x00\xff")
	for _, item := range []string{"not_an_event", "1-1 e9 body", "", "2-2 e1 " + strings.Repeat("x", 100_000)} {
		for _, partition := range []string{"0", "1"} { // one of them has the channel
			conn.CLI("RPUSH", prefix+"stream:{"+partition+"}:parked:mail:ch", item)
		}
	}

	list, err := e.Buses(ctx, inspect.Page{})
	must(t, err)
	problems := map[string]bool{}
	for _, b := range list.Items {
		problems[b.Name] = b.Problem != ""
	}
	for name, want := range map[string]bool{"zero": true, "text": true, "huge": true, "none": true, "list": true, "stream": false} {
		if got, listed := problems[name]; got != want || !listed {
			t.Errorf("bus %s: problem %v, listed %v, want problem %v", name, got, listed, want)
		}
	}
	for _, name := range []string{"zero", "text", "huge", "none", "list", "", strings.Repeat("n", 200)} {
		_, err1 := e.Groups(ctx, name, inspect.Page{})
		_, err2 := e.Peek(ctx, name, inspect.PeekOptions{}, inspect.Page{})
		_, err3 := e.RedriveAll(ctx, name, "mail")
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("bus %.20q: %v, %v, %v: want errors", name, err1, err2, err3)
		}
	}

	if shown, err := e.Peek(ctx, "stream", inspect.PeekOptions{}, inspect.Page{}); err != nil || len(shown.Problems) != 1 {
		t.Errorf("a partition that is no stream: problems %q, %v", shown.Problems, err)
	}
	conn.CLI("DEL", prefix+"stream:{0}")
	var groups []string
	for _, g := range pages(t, 1, func(p inspect.Page) (inspect.List[inspect.GroupInfo], error) { return e.Groups(ctx, "stream", p) }) {
		groups = append(groups, g.Name)
	}
	if !slices.Equal(groups, []string{"\x1b]0;x\x07<b>", "mail"}) {
		t.Errorf("groups %.200q", groups)
	}
	parts, err := e.Partitions(ctx, "stream", "mail", inspect.Page{})
	must(t, err)
	if len(parts.Items) != 2 || !parts.Items[1].OwnerStarted.IsZero() || parts.Items[1].Owner != "not a token" {
		t.Errorf("partitions %+v", parts.Items)
	}
	waiting := pages(t, 1, func(p inspect.Page) (inspect.List[inspect.WaitingEvent], error) {
		return e.Waiting(ctx, "stream", "mail", "ch", true, p)
	})
	if len(waiting) != 4 {
		t.Errorf("%d waiting events, want 4", len(waiting))
	}
	for _, w := range waiting {
		if w.Problem == "" || w.Data != nil {
			t.Errorf("a foreign waiting event: %+v", w)
		}
	}
	peek, err := e.Peek(ctx, "stream", inspect.PeekOptions{Partitions: []int{1}, Data: true}, inspect.Page{})
	must(t, err)
	if len(peek.Items) != 1 || peek.Items[0].Format != "e9" || peek.Items[0].Problem == "" {
		t.Errorf("an event of another release: %+v", peek.Items)
	}
	dead, err := e.Dead(ctx, "stream", "mail", inspect.Page{})
	must(t, err)
	if len(dead.Items) != 1 || dead.Items[0].Event.Problem == "" {
		t.Errorf("a foreign dead letter: %+v", dead.Items)
	}
	if n, err := e.Redrive(ctx, "stream", "mail", dead.Items[0].ID); err != nil || n != 0 {
		t.Errorf("redrive of a foreign dead letter: %d, %v, want 0", n, err)
	}
	for _, cursor := range []string{"x", "!!", strings.Repeat("A", 5000)} {
		_, err1 := e.Groups(ctx, "stream", inspect.Page{Cursor: cursor})
		_, err2 := e.Peek(ctx, "stream", inspect.PeekOptions{}, inspect.Page{Cursor: cursor})
		_, err3 := e.Dead(ctx, "stream", "mail", inspect.Page{Cursor: cursor})
		_, err4 := e.Partitions(ctx, "stream", "mail", inspect.Page{Cursor: cursor})
		for _, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, inspect.ErrBadCursor) {
				t.Errorf("cursor %.5q: %v", cursor, err)
			}
		}
	}
}
