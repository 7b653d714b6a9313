package redstartprom

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/observe"
)

// Options configure an [Observer].
type Options struct {
	// Exemplar returns the labels of an exemplar for the context of an operation, or nil for none.
	// Default nil: no exemplars. Its panic is contained: the value then has no exemplar.
	Exemplar func(ctx context.Context) prometheus.Labels
}

// Observer measures operations in histograms. It is an observe.Recorder for redstart.Config and a
// collector for a registry. Use [NewObserver]. Its methods are safe for concurrent use.
type Observer struct {
	opt        Options
	histograms []*prometheus.HistogramVec // by observe.Quantity

	mu     sync.RWMutex
	series map[seriesKey]prometheus.Observer // at most maxSeries
}

var (
	_ observe.Recorder     = (*Observer)(nil)
	_ prometheus.Collector = (*Observer)(nil)
)

// maxSeries bounds the memory of an Observer if a program creates names without a bound.
const (
	maxSeries = 1000
	otherName = "(other)"
)

type seriesKey struct {
	op       observe.Operation
	quantity observe.Quantity
	class    string // of the error
}

// labelNames are the labels of each histogram. observe.Duration also has error_type.
var labelNames = []string{"pattern", "name", "verb", "subscriber"}

// NewObserver returns an [Observer].
func NewObserver(opts Options) *Observer {
	o := &Observer{opt: opts, series: make(map[seriesKey]prometheus.Observer)}
	for _, h := range observe.Histograms() {
		names := labelNames
		if h.Quantity == observe.Duration {
			names = append(names[:len(names):len(names)], "error_type")
		}
		o.histograms = append(o.histograms, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: nameOf(h.Name, h.Unit), Help: h.Help, Buckets: h.Bounds,
		}, names))
	}
	return o
}

// Describe sends the descriptions of the histograms.
func (o *Observer) Describe(to chan<- *prometheus.Desc) {
	for _, h := range o.histograms {
		h.Describe(to)
	}
}

// Collect sends the histograms.
func (o *Observer) Collect(to chan<- prometheus.Metric) {
	for _, h := range o.histograms {
		h.Collect(to)
	}
}

// Start begins the measurement of an operation. It implements observe.Observer.
func (o *Observer) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	began := time.Now()
	return ctx, func(err error) { o.add(ctx, seriesKey{op, observe.Duration, errorType(err)}, time.Since(began)) }
}

// Record records a wait, a hold or a lag. It implements observe.Recorder.
func (o *Observer) Record(ctx context.Context, op observe.Operation, q observe.Quantity, d time.Duration) {
	if int(q) < len(o.histograms) {
		o.add(ctx, seriesKey{op: op, quantity: q}, d)
	}
}

// errorType returns the class of an error. The error is user code: after a panic of its methods,
// the class is "_OTHER".
func errorType(err error) (class string) {
	defer func() {
		if recover() != nil {
			class = "_OTHER"
		}
	}()
	return redstart.ErrorType(err)
}

// add adds a value to its histogram, with an exemplar if there is one.
func (o *Observer) add(ctx context.Context, key seriesKey, d time.Duration) {
	h := o.seriesOf(key)
	exemplar := o.exemplar(ctx)
	with, ok := h.(prometheus.ExemplarObserver)
	if len(exemplar) == 0 || !ok {
		h.Observe(d.Seconds())
		return
	}

	// The histogram counts the value first, and panics if the labels are not valid.
	defer func() { _ = recover() }()
	with.ObserveWithExemplar(d.Seconds(), exemplar)
}

// exemplar asks the user's function. After a panic there is no exemplar.
func (o *Observer) exemplar(ctx context.Context) (labels prometheus.Labels) {
	if o.opt.Exemplar == nil {
		return nil
	}
	defer func() {
		if recover() != nil {
			labels = nil
		}
	}()
	return o.opt.Exemplar(ctx)
}

// seriesOf returns the series of a histogram. Beyond maxSeries series the name is "(other)".
func (o *Observer) seriesOf(key seriesKey) prometheus.Observer {
	o.mu.RLock()
	s := o.series[key]
	o.mu.RUnlock()
	if s != nil {
		return s
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.series[key]; s != nil {
		return s
	}
	kept := len(o.series) < maxSeries
	op := key.op
	if !kept {
		op.Name = otherName
		if op.Subscriber != "" {
			op.Subscriber = otherName
		}
	}
	values := []string{valid(op.Pattern), valid(op.Name), valid(op.Verb), valid(op.Subscriber)}
	if key.quantity == observe.Duration {
		values = append(values, key.class)
	}
	s = o.histograms[key.quantity].WithLabelValues(values...)
	if kept {
		o.series[key] = s
	}
	return s
}

// valid returns a text as valid UTF-8, which a label must be.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
