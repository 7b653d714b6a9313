package redstartotel

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/observe"
)

const (
	// maxSeries bounds the memory of an Observer if a program creates names without a bound.
	maxSeries = 1000
	otherName = "(other)"
	// maxText is the most bytes of an error in the status of a span.
	maxText = 1024
)

// series has the constants of one operation, so that a call does not create them again.
type series struct {
	name       string // of the span
	start      []trace.SpanStartOption
	attributes []attribute.KeyValue // labels of histograms
	labels     []metric.RecordOption
}

// seriesOf returns the series of an operation. Beyond maxSeries operations the name is "(other)",
// and the series is not kept.
func (o *Observer) seriesOf(op observe.Operation) *series {
	o.mu.RLock()
	s := o.series[op]
	o.mu.RUnlock()
	if s != nil {
		return s
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.series[op]; s != nil {
		return s
	}
	if len(o.series) >= maxSeries {
		op.Name = otherName
		if op.Subscriber != "" {
			op.Subscriber = otherName
		}
		return newSeries(op)
	}
	s = newSeries(op)
	o.series[op] = s
	return s
}

func newSeries(op observe.Operation) *series {
	s := &series{}
	s.describe(op)

	for _, l := range []attribute.KeyValue{
		attribute.String("pattern", op.Pattern), attribute.String("name", op.Name),
		attribute.String("verb", op.Verb), attribute.String("subscriber", op.Subscriber),
	} {
		if l.Value.AsString() != "" {
			s.attributes = append(s.attributes, l)
		}
	}
	s.labels = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(s.attributes...))}
	return s
}

// describe sets the name, the kind and the attributes of the span.
func (s *series) describe(op observe.Operation) {
	kind := trace.SpanKindClient
	own := []attribute.KeyValue{attribute.String("redstart.pattern", op.Pattern), attribute.String("redstart.verb", op.Verb)}
	if op.Name != "" {
		own = append(own, attribute.String("redstart.name", op.Name))
	}

	if op.Pattern == "events" {
		s.name = strings.TrimSpace(op.Verb + " " + op.Name)
		kind = trace.SpanKindProducer
		step := semconv.MessagingOperationTypeSend
		if op.Verb == verbHandle {
			kind, step = trace.SpanKindConsumer, semconv.MessagingOperationTypeProcess
		}
		own = append(own, semconv.MessagingSystemKey.String("redis"), semconv.MessagingOperationName(op.Verb), step,
			semconv.MessagingDestinationName(op.Name))
		if op.Subscriber != "" {
			own = append(own, semconv.MessagingConsumerGroupName(op.Subscriber))
		}
	} else {
		s.name = op.String()
		own = append(own, semconv.DBSystemNameRedis, semconv.DBOperationName(op.Pattern+"."+op.Verb))
		if op.Name != "" {
			own = append(own, semconv.DBCollectionName(op.Name))
		}
	}
	s.start = []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(own...)}
}

// labelsWith returns the labels with the class of an error.
func (s *series) labelsWith(class string) []metric.RecordOption {
	all := append(s.attributes[:len(s.attributes):len(s.attributes)], semconv.ErrorTypeKey.String(class))
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(all...))}
}

// describe returns the class and the text of an error. The error is user code: a panic of its
// methods becomes the text.
func describe(err error) (class, text string) {
	class = "_OTHER"
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprintf("the error %T panicked", err)
		}
	}()

	class = redstart.ErrorType(err)
	if text = err.Error(); len(text) > maxText {
		text = text[:maxText]
	}
	return class, strings.ToValidUTF8(text, string(utf8.RuneError))
}
