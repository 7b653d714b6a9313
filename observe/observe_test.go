package observe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/observe"
)

type recorder struct {
	name string
	log  *[]string
}

type ctxKey string

func (r recorder) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	parent, _ := ctx.Value(ctxKey("span")).(string)
	*r.log = append(*r.log, fmt.Sprintf("%s start %s under %q", r.name, op, parent))
	return context.WithValue(ctx, ctxKey("span"), r.name), func(err error) {
		*r.log = append(*r.log, fmt.Sprintf("%s end %v", r.name, err))
	}
}

type silent struct{}

func (silent) Start(ctx context.Context, _ observe.Operation) (context.Context, func(error)) {
	return ctx, nil
}

func TestMulti(t *testing.T) {
	t.Parallel()
	var log []string
	o := observe.Multi(nil, recorder{"a", &log}, silent{}, recorder{"b", &log})
	ctx, end := o.Start(t.Context(), observe.Operation{Pattern: "cache", Name: "users", Verb: "get"})
	if got := ctx.Value(ctxKey("span")); got != "b" {
		t.Errorf("the operation runs under %v, want b", got)
	}
	end(errors.New("boom"))
	want := []string{`a start cache.get users under ""`, `b start cache.get users under "a"`, "b end boom", "a end boom"}
	if !slices.Equal(log, want) {
		t.Errorf("got %q, want %q", log, want)
	}
}

func TestMultiOfFew(t *testing.T) {
	t.Parallel()
	if o := observe.Multi(); o != nil {
		t.Errorf("Multi() = %v, want nil", o)
	}
	if o := observe.Multi(nil, nil); o != nil {
		t.Errorf("Multi(nil, nil) = %v, want nil", o)
	}
	if o := observe.Multi(nil, silent{}); o != (silent{}) {
		t.Errorf("Multi(nil, silent) = %v, want silent", o)
	}
}

func TestSlog(t *testing.T) {
	t.Parallel()
	run := func(level slog.Level, err error) string {
		var out bytes.Buffer
		o := observe.Slog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
		_, end := o.Start(t.Context(), observe.Operation{Pattern: "lock", Name: "jobs", Verb: "acquire"})
		if end != nil {
			end(err)
		}
		return out.String()
	}
	if got := run(slog.LevelDebug, nil); !strings.Contains(got, "level=DEBUG msg=redstart pattern=lock name=jobs verb=acquire duration=") {
		t.Errorf("success at debug: %q", got)
	}
	if got := run(slog.LevelInfo, nil); got != "" {
		t.Errorf("success at info: %q, want nothing", got)
	}
	if got := run(slog.LevelInfo, errors.New("boom")); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "error=boom") {
		t.Errorf("failure at info: %q", got)
	}
	if got := run(slog.LevelError, errors.New("boom")); got != "" {
		t.Errorf("failure at error: %q, want nothing", got)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{observe.Operation{Pattern: "lock", Verb: "acquire"}.String(), "lock.acquire"},
		{observe.Counter.String(), "counter"},
		{observe.Gauge.String(), "gauge"},
		{observe.Kind(9).String(), "Kind(9)"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}

func TestSlogOffAllocatesNothing(t *testing.T) {
	o := observe.Slog(slog.New(slog.DiscardHandler))
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		_, end := o.Start(ctx, observe.Operation{Pattern: "cache", Name: "users", Verb: "get"})
		if end != nil {
			t.Error("a silent logger has something to do at the end")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func ExampleSlog() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{}
			}
			return a
		},
	}))
	observer := observe.Slog(logger) // redstart.Config{Observer: observer}

	_, end := observer.Start(context.Background(), observe.Operation{Pattern: "cache", Name: "users", Verb: "get"})
	end(errors.New("redstart: server unavailable"))
	// Output: level=WARN msg=redstart pattern=cache name=users verb=get error="redstart: server unavailable"
}

// A metric in the text format that Prometheus scrapes.
func ExampleMetric() {
	m := observe.Metric{
		Name: "redstart.cache.requests", Help: "Requests to a cache.", Unit: "1", Kind: observe.Counter,
		Labels: []observe.Label{{"cache", "users"}, {"outcome", "hit"}}, Value: 12,
	}
	var labels []string
	for _, l := range m.Labels {
		labels = append(labels, fmt.Sprintf("%s=%q", l.Name, l.Value))
	}
	fmt.Printf("%s{%s} %g\n", strings.ReplaceAll(m.Name, ".", "_"), strings.Join(labels, ","), m.Value)
	// Output: redstart_cache_requests{cache="users",outcome="hit"} 12
}
