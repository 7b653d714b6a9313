package core_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
)

type noEnd struct{}

func (noEnd) Start(ctx context.Context, _ observe.Operation) (context.Context, func(error)) {
	return ctx, nil
}

// An observer that returns no end function must not make the pattern panic.
func TestStartAcceptsANilEndFunction(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), func(o *core.Options) { o.Observer = noEnd{} })
	_, end := c.Start(t.Context(), observe.Operation{Pattern: "lock", Verb: "acquire"})
	end(nil)
}

// Two sources of the same series yield it once, with the sum. A removed source yields nothing.
func TestMetricsOfOneNameAreAddedUp(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL())
	source := func(value float64) func(func(observe.Metric) bool) bool {
		return func(yield func(observe.Metric) bool) bool {
			return yield(observe.Metric{Name: "redstart.test.hits",
				Labels: []observe.Label{{Name: "name", Value: "users"}}, Value: value})
		}
	}
	read := func() (values []float64) {
		c.Metrics(func(m observe.Metric) bool {
			if m.Name == "redstart.test.hits" {
				values = append(values, m.Value)
			}
			return true
		})
		return values
	}
	remove := c.OnMetrics(source(2))
	c.OnMetrics(source(3))
	if got := read(); len(got) != 1 || got[0] != 5 {
		t.Errorf("two sources of one series yield %v, want one series of 5", got)
	}
	remove()
	remove()
	if got := read(); len(got) != 1 || got[0] != 3 {
		t.Errorf("after one source was removed: %v, want 3", got)
	}
}

// Ping changes nothing. Without an answer the error is ErrUnavailable, never ErrIndeterminate.
func TestPingIsARead(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(200*time.Millisecond))
	server.Stop()
	defer server.Continue()
	if err := c.Ping(t.Context()); !errors.Is(err, fault.ErrUnavailable) || errors.Is(err, fault.ErrIndeterminate) {
		t.Errorf("ping of a stopped server: %v", err)
	}
}

// A message about one subject is logged once per interval, for any number of events.
func TestWarningsAreRateLimited(t *testing.T) {
	t.Parallel()
	log := &journal{}
	c := open(t, rig.Shared(t).URL(), func(o *core.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	for range 100 {
		c.Degraded("ratelimit", "api", "fail-open", fault.ErrUnavailable)
		c.Degraded("ratelimit", "api", "fail-open", fault.ErrDenied)
	}
	if err := c.Close(); err != nil { // now all lines have arrived
		t.Fatal(err)
	}
	if n := log.count("server unavailable, degraded answers"); n != 1 {
		t.Errorf("an outage was logged %d times, want once", n)
	}
	if n := log.count("access denied, degraded answers"); n != 1 {
		t.Errorf("a denied rule was logged %d times, want once", n)
	}
}
