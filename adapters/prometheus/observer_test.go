package redstartprom_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	redstartprom "github.com/redstart-go/redstart/adapters/prometheus"
	"github.com/redstart-go/redstart/observe"
)

var handle = observe.Operation{Pattern: "events", Name: "orders", Verb: "handle", Subscriber: "mail"}

// series returns the series of a histogram.
func series(t *testing.T, o *redstartprom.Observer, name string) []*dto.Metric {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(o)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()
		}
	}
	return nil
}

func labelsOf(m *dto.Metric) map[string]string {
	all := map[string]string{}
	for _, l := range m.GetLabel() {
		all[l.GetName()] = l.GetValue()
	}
	return all
}

func TestHistogramsHaveLabelsAndBuckets(t *testing.T) {
	t.Parallel()
	o := redstartprom.NewObserver(redstartprom.Options{})
	_, end := o.Start(t.Context(), handle)
	end(context.DeadlineExceeded)
	o.Record(t.Context(), handle, observe.Lag, 70*time.Second)
	o.Record(t.Context(), handle, observe.Quantity(9), time.Second) // of a newer release

	labels := map[string]string{"pattern": "events", "name": "orders", "verb": "handle", "subscriber": "mail"}
	failed := maps.Clone(labels)
	failed["error_type"] = "deadline_exceeded"
	for name, want := range map[string]struct {
		quantity observe.Quantity
		labels   map[string]string
	}{
		"redstart_operation_duration_seconds":  {observe.Duration, failed},
		"redstart_events_delivery_lag_seconds": {observe.Lag, labels},
	} {
		got := series(t, o, name)
		if len(got) != 1 || !maps.Equal(labelsOf(got[0]), want.labels) || got[0].GetHistogram().GetSampleCount() != 1 {
			t.Fatalf("%s: %v", name, got)
		}
		var bounds []float64
		for _, b := range got[0].GetHistogram().GetBucket() {
			bounds = append(bounds, b.GetUpperBound())
		}
		if !slices.Equal(bounds, observe.Histograms()[want.quantity].Bounds) {
			t.Errorf("%s: the buckets are %v", name, bounds)
		}
		if sum := got[0].GetHistogram().GetSampleSum(); want.quantity == observe.Lag && sum != 70 {
			t.Errorf("%s: the sum is %v, want 70", name, sum)
		}
	}
}

type traceKey struct{}

// The exemplar comes from the context of the operation. Labels that Prometheus refuses, and a
// panic, cost the exemplar and not the value.
func TestExemplars(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		exemplar func(ctx context.Context) prometheus.Labels
		want     string
	}{
		{"a trace", func(ctx context.Context) prometheus.Labels {
			return prometheus.Labels{"trace_id": ctx.Value(traceKey{}).(string)}
		}, "4bf92f"},
		{"none", func(context.Context) prometheus.Labels { return nil }, ""},
		{"no function", nil, ""},
		{"too long", func(context.Context) prometheus.Labels {
			return prometheus.Labels{"trace_id": strings.Repeat("x", 200)}
		}, ""},
		{"no label name", func(context.Context) prometheus.Labels { return prometheus.Labels{"": "x"} }, ""},
		{"panic", func(context.Context) prometheus.Labels { panic("broken") }, ""},
	} {
		o := redstartprom.NewObserver(redstartprom.Options{Exemplar: tt.exemplar})
		_, end := o.Start(context.WithValue(t.Context(), traceKey{}, "4bf92f"), handle)
		end(nil)
		h := series(t, o, "redstart_operation_duration_seconds")[0].GetHistogram()
		if h.GetSampleCount() != 1 {
			t.Errorf("%s: %d values, want 1", tt.name, h.GetSampleCount())
		}
		got := ""
		for _, b := range h.GetBucket() {
			for _, l := range b.GetExemplar().GetLabel() {
				got += l.GetValue()
			}
		}
		if got != tt.want {
			t.Errorf("%s: the exemplar is %q, want %q", tt.name, got, tt.want)
		}
	}
}

// loud is an error whose methods panic.
type loud struct{}

func (loud) Error() string { panic("loud") }
func (loud) Is(error) bool { panic("loud") }

func TestErrorsThatPanicAreCounted(t *testing.T) {
	t.Parallel()
	o := redstartprom.NewObserver(redstartprom.Options{})
	for _, err := range []error{loud{}, errors.New("boom")} {
		_, end := o.Start(t.Context(), handle)
		end(err)
	}
	got := series(t, o, "redstart_operation_duration_seconds")
	if len(got) != 1 || labelsOf(got[0])["error_type"] != "_OTHER" || got[0].GetHistogram().GetSampleCount() != 2 {
		t.Errorf("got %v, want two values of _OTHER", got)
	}
}

// Beyond 1,000 series, the names share one series and the map does not grow. A name that is no
// UTF-8 breaks no scrape.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	o := redstartprom.NewObserver(redstartprom.Options{})
	for i := range 3000 {
		op := observe.Operation{Pattern: "cache", Name: fmt.Sprint("users-\xff", i), Verb: "get"}
		o.Record(t.Context(), op, observe.Wait, time.Millisecond)
	}
	if n := redstartprom.SeriesOf(o); n != 1000 {
		t.Errorf("the observer keeps %d series, want 1000", n)
	}
	got := series(t, o, "redstart_operation_wait_seconds")
	i := slices.IndexFunc(got, func(m *dto.Metric) bool { return labelsOf(m)["name"] == "(other)" })
	if len(got) != 1001 || i < 0 || got[i].GetHistogram().GetSampleCount() != 2000 {
		t.Errorf("%d series, want 1001 with 2,000 values in (other)", len(got))
	}
}

// BenchmarkObserver measures one operation with its histogram.
func BenchmarkObserver(b *testing.B) {
	for name, exemplar := range map[string]func(context.Context) prometheus.Labels{
		"plain":    nil,
		"exemplar": func(context.Context) prometheus.Labels { return prometheus.Labels{"trace_id": "4bf92f"} },
	} {
		b.Run(name, func(b *testing.B) {
			o := redstartprom.NewObserver(redstartprom.Options{Exemplar: exemplar})
			b.ReportAllocs()
			for b.Loop() {
				_, end := o.Start(b.Context(), handle)
				end(nil)
			}
		})
	}
}
