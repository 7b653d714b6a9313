package redstartotel_test

import (
	"context"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/redstart-go/redstart"
	redstartotel "github.com/redstart-go/redstart/adapters/otel"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
)

func Example() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{}) // your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()

	spans := tracetest.NewSpanRecorder() // your exporter, such as OTLP
	tracers := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	reader := metric.NewManualReader() // your reader, such as a PeriodicReader with OTLP
	meters := metric.NewMeterProvider(metric.WithReader(reader))

	observer, err := redstartotel.NewObserver(redstartotel.Options{TracerProvider: tracers, MeterProvider: meters})
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL(), Observer: observer})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	users, err := cache.New[string](client, "users", cache.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := users.Set(ctx, "42", "Ada"); err != nil {
		log.Fatal(err)
	}

	for _, span := range spans.Ended() {
		fmt.Println("span:", span.Name(), span.SpanKind())
	}
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &collected); err != nil {
		log.Fatal(err)
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			fmt.Println("histogram:", m.Name)
		}
	}
	// Output:
	// span: cache.set users client
	// histogram: redstart.operation.duration
}
