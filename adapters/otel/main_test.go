package redstartotel_test

import (
	"os"
	"regexp"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/redstart-go/redstart"
	redstartotel "github.com/redstart-go/redstart/adapters/otel"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// probe is an observer on the real SDK.
type probe struct {
	*redstartotel.Observer
	provider *trace.TracerProvider
	spans    *tracetest.SpanRecorder
	reader   *metric.ManualReader
}

func newProbe(t testing.TB) *probe {
	t.Helper()
	p := &probe{spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	p.provider = trace.NewTracerProvider(trace.WithSpanProcessor(p.spans))
	meters := metric.NewMeterProvider(metric.WithReader(p.reader))
	t.Cleanup(func() { _, _ = p.provider.Shutdown(t.Context()), meters.Shutdown(t.Context()) })
	var err error
	p.Observer, err = redstartotel.NewObserver(redstartotel.Options{TracerProvider: p.provider, MeterProvider: meters})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open returns a client of the shared server. It ends with the test.
func open(t testing.TB, observer *redstartotel.Observer) *redstart.Client {
	t.Helper()
	c, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(), Namespace: rig.Prefix(t), Observer: observer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var tableRow = regexp.MustCompile("(?m)^\\| `(redstart\\.[a-z_.]+)` \\| `(redstart_[a-z_]+)` \\|")

// documented returns the table of docs/metrics.md: the name in Prometheus by the name in Redstart.
func documented(t *testing.T) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, row := range tableRow.FindAllStringSubmatch(string(page), -1) {
		names[row[1]] = row[2]
	}
	if len(names) < 60 {
		t.Fatalf("found %d metrics in docs/metrics.md: the pattern is wrong", len(names))
	}
	return names
}
