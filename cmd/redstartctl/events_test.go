package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

type order struct {
	Total string `json:"total"`
}

var paid = events.NewTopic[order]("order.paid")

// consumers run the group mail of the bus orders.
type consumers struct {
	t    *testing.T
	bus  *events.Durable
	stop func()
}

func (c *consumers) run(o events.SubscriberOptions, handle func(context.Context, events.Event[order]) error) {
	c.t.Helper()
	sub, err := c.bus.Subscriber("mail", o)
	must(c.t, err)
	must(c.t, paid.Handle(sub, "*", handle))
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(c.stop)
	select {
	case <-sub.Ready():
	case <-time.After(20 * time.Second):
		c.t.Fatal("the subscriber is not ready within 20 s")
	}
}

// publish publishes an order to the channel of its number.
func (c *consumers) publish(number int, total string) {
	c.t.Helper()
	must(c.t, paid.Publish(c.t.Context(), c.bus, fmt.Sprint("order:", number), order{total}))
}

// until waits for a state of the group.
func (c *consumers) until(what string, ok func(g events.Group) bool) {
	c.t.Helper()
	rig.Eventually(c.t, 20*time.Second, what, func() bool {
		g, err := c.bus.Group(c.t.Context(), "mail")
		must(c.t, err)
		return ok(g)
	})
}

// letters replaces the id of a dead letter in a transcript by the id of the first dead letter now.
func (c *consumers) letters(arg string) string {
	if !regexp.MustCompile(`^\d+\.\d{13}-\d+$`).MatchString(arg) {
		return arg
	}
	all, err := c.bus.DeadLetters("mail").List(c.t.Context(), "", 1)
	must(c.t, err)
	if len(all) == 0 {
		return arg
	}
	return all[0].ID
}

func newConsumers(t *testing.T) (c *consumers, env []string) {
	t.Helper()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	bus, err := events.NewDurable(open(t, s.URL(), namespace), "orders", events.DurableOptions{Partitions: 4})
	must(t, err)
	return &consumers{t: t, bus: bus}, serverEnv(s.URL(), namespace)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The incident "a poison event" of docs/guides/operating.md.
func TestTranscriptPoisonEvent(t *testing.T) {
	t.Parallel()
	c, env := newConsumers(t)
	second, fail := make(chan struct{}), make(chan struct{})
	cause := errors.New(`parse the total: "12,50 EUR" is not a number`)
	transcript(t, "poison-event.txt", env, map[string]func(){
		"the group mail can't read one event of order:42": func() {
			o := events.SubscriberOptions{MaxAttempts: 2, Backoff: func(int) time.Duration { return time.Millisecond }}
			c.run(o, func(_ context.Context, e events.Event[order]) error {
				if e.Data.Total != "12,50 EUR" {
					return nil
				}
				if e.Attempt == 2 {
					close(second)
					<-fail
				}
				return cause
			})
			c.publish(42, "12,50 EUR")
			c.publish(42, "8.00 EUR")
			c.publish(7, "3.20 EUR")
			<-second
			c.until("the other orders are handled", func(g events.Group) bool { return g.Lag == 2 && g.Pending == 0 })
		},
		"the last attempt fails": func() {
			close(fail)
			c.until("the event is a dead letter", func(g events.Group) bool { return g.Dead == 1 && g.Drained() })
		},
		"mail runs with a corrected handler": func() {
			c.stop()
			c.run(events.SubscriberOptions{}, func(context.Context, events.Event[order]) error { return nil })
		},
		"mail has handled the event": func() {
			c.until("it is handled", func(g events.Group) bool { return g.Dead == 0 && g.Drained() })
		},
	}, c.letters)
}

func TestTranscriptEvents(t *testing.T) {
	t.Parallel()
	c, env := newConsumers(t)
	transcript(t, "events.txt", env, map[string]func(){
		"three events are published, mail has no process": func() {
			c.run(events.SubscriberOptions{}, func(context.Context, events.Event[order]) error {
				return events.Discard(errors.New("gone"))
			})
			c.publish(1, "0")
			c.until("it is a dead letter", func(g events.Group) bool { return g.Dead == 1 })
			c.stop()
			c.publish(2, "1")
			c.publish(2, "\x1b[31m<b>")
		},
	}, c.letters)
}

// Each line of tail --json is one event, and names of other programs can't control the terminal.
func TestTailWritesWhatIsPublished(t *testing.T) {
	t.Parallel()
	c, env := newConsumers(t)
	c.publish(1, "1")
	must(t, paid.Publish(t.Context(), c.bus, "evil\x1b]0;x\x07", order{"2"}))
	r := execute(t, env, "events", "tail", "orders", "--from", "0-0", "--limit", "2", "--json", "--data")
	if lines := strings.Split(strings.TrimSpace(r.stdout), "\n"); r.code != 0 || len(lines) != 2 {
		t.Errorf("%d lines, code %d: %s%s", len(lines), r.code, r.stdout, r.stderr)
	}
	r = execute(t, env, "events", "tail", "orders", "--from", "0-0", "--limit", "2")
	if r.code != 0 || strings.ContainsAny(r.stdout, "\x1b\x07") || !strings.Contains(r.stdout, `evil\x1b`) {
		t.Errorf("code %d: %q", r.code, r.stdout)
	}
	if r = execute(t, env, "events", "tail", "other"); r.code != exitFindings || !strings.Contains(r.stderr, "not found") {
		t.Errorf("tail of an unknown bus: code %d, %s", r.code, r.stderr)
	}
}

func TestEventRepairsRefuseAnUnclearCommand(t *testing.T) {
	t.Parallel()
	c, env := newConsumers(t)
	c.publish(1, "1")
	for _, args := range [][]string{
		{"events", "dead", "redrive", "orders", "mail", "--yes"},
		{"events", "dead", "redrive", "orders", "mail", "0.1-1", "--all", "--yes"},
		{"events", "dead", "drop", "orders", "mail", "--all"},
		{"events", "pause", "orders", "mail"},
		{"events", "pause", "orders", "mail", "--yes", "--read-only"},
		{"events", "drop-group", "orders", "mail", "--yes"}, // it was never registered
		{"session", "revoke", "web", "ada", "--yes"},
	} {
		if r := execute(t, env, args...); r.code == exitFine {
			t.Errorf("%q: code 0, %s", args, r.stdout)
		}
	}
	if r := execute(t, env, "events", "dead", "drop", "orders", "mail", "--all", "--yes", "--json"); r.code != exitFine ||
		!strings.Contains(r.stdout, `"changed": 0`) {
		t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
