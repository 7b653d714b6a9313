package guides_test

import (
	"context"
	"expvar"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// publishMetrics shows all counters at /debug/vars. An exporter for Prometheus reads the same
// sequence.
func publishMetrics(client *redstart.Client) {
	expvar.Publish("redstart", expvar.Func(func() any {
		values := map[string]float64{}
		for m := range client.Metrics() {
			values[nameOf(m)] = m.Value
		}
		return values
	}))
}

// nameOf joins the name of a metric and its labels.
func nameOf(m observe.Metric) string {
	name := strings.Builder{}
	name.WriteString(m.Name)
	for _, label := range m.Labels {
		name.WriteString("," + label.Name + "=" + label.Value)
	}
	return name.String()
}

// ready answers readiness checks. The service stays ready without Redis if it can serve without it.
func ready(client *redstart.Client, needsRedis bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := client.Ping(r.Context()); err != nil && needsRedis {
			http.Error(w, "redis: not available", http.StatusServiceUnavailable)
		}
	}
}

var metricName = regexp.MustCompile("`(redstart\\.[a-z_.]+)`")

// TestGuidesNameMetricsThatExist checks that a client yields each metric that a guide names.
func TestGuidesNameMetricsThatExist(t *testing.T) {
	client, _ := testClient(t)
	rules := []ratelimit.Rule{ratelimit.PerSecond(1)}
	for name, err := range map[string]error{
		"cache":       second(cache.New[int](client, "c", cache.Options{})),
		"lock":        second(lock.New(client, lock.Options{})),
		"session":     second(session.New[int](client, "s", session.Options{})),
		"permits":     second(ratelimit.NewConcurrency(client, "p", ratelimit.ConcurrencyOptions{Limit: 1})),
		"ratelimit":   refuseOne(t, client, rules),
		"idempotency": second(idempotency.New(client, "i", idempotency.Options{Scope: idempotency.OneScope})),
	} {
		if err != nil {
			t.Fatal(name, err)
		}
	}
	bus, err := events.NewDurable(client, "e", events.DurableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := bus.Subscriber("g", events.SubscriberOptions{})
	if err != nil {
		t.Fatal(err)
	}
	anything := func(context.Context, events.Event[int]) error { return nil }
	if err := events.NewTopic[int]("guide.metrics").Handle(sub, "*", anything); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sub.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select { // the metrics of a subscriber exist while it runs
	case <-sub.Ready():
	case err := <-ended:
		ended <- nil
		t.Fatal("the subscriber ended", err)
	}
	if ready(client, true) == nil || client.Ping(t.Context()) != nil {
		t.Fatal("not ready")
	}
	if expvar.Get("redstart") == nil { // expvar refuses a name twice, as in a run with -count
		publishMetrics(client)
	}

	known := map[string]bool{}
	for m := range client.Metrics() {
		known[m.Name] = true
	}
	guides, err := filepath.Glob("*.md")
	if err != nil || len(guides) == 0 {
		t.Fatal(guides, err)
	}
	named := 0
	for _, guide := range guides {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range metricName.FindAllStringSubmatch(string(text), -1) {
			named++
			if !known[match[1]] {
				t.Errorf("%s names the metric %s, which no client yields", guide, match[1])
			}
		}
	}
	if named == 0 {
		t.Error("no guide names a metric")
	}
}

func second[T any](_ T, err error) error { return err }

// refuseOne makes a limiter that counts its denials by rule.
func refuseOne(t *testing.T, client *redstart.Client, rules []ratelimit.Rule) error {
	limiter, err := ratelimit.New(client, "r", ratelimit.Options{Rules: rules})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := limiter.Allow(t.Context(), "k"); err != nil {
			return err
		}
	}
	return nil
}
