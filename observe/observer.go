package observe

import (
	"context"
	"time"
)

// Operation describes one operation of a pattern. Its fields are constants of the program, so they
// are fit for span names and labels.
type Operation struct {
	Pattern string // "cache", "lock", "events", "session", "ratelimit"
	Name    string // the name of the cache, bus or limiter; "" if a client has one
	Verb    string // "get", "acquire", "publish"
	// Subscriber is the name of the subscriber that handles an event. On a durable bus it is the
	// consumer group. It is "" for all other operations.
	Subscriber string
}

// String returns the name of the span: "cache.get users", or "lock.acquire" without a name.
func (o Operation) String() string {
	s := o.Pattern + "." + o.Verb
	if o.Name != "" {
		s += " " + o.Name
	}
	return s
}

// Observer receives the start and the end of operations. It must be safe for concurrent use.
//
// Redstart calls Start before the operation, with the caller's context. Start returns a context
// that derives from it. The operation and its callbacks (a loader, a handler) run with the returned
// context, so their spans have the operation's span as parent.
//
// Redstart calls the returned function exactly once, when the operation ends, with the error of the
// operation or nil. Start may return a nil function. Both functions run on the goroutine of the
// caller and delay it. A panic of either is logged, and the operation continues.
type Observer interface {
	Start(ctx context.Context, op Operation) (context.Context, func(err error))
}

// Recorder is an [Observer] that also receives the quantities that the start and the end of an
// operation do not show: [Wait], [Hold] and [Lag]. Record must be safe for concurrent use and must
// return quickly, because it runs on the goroutine of the operation. A panic of Record is logged.
//
// The context has the span of the operation, so that an adapter can attach an exemplar. It is ended
// in some cases: when a wait was cancelled, for example.
type Recorder interface {
	Observer
	Record(ctx context.Context, op Operation, q Quantity, d time.Duration)
}

// Multi returns an Observer that calls several observers: at the start in order, at the end in the
// opposite order, like deferred calls. It ignores nil observers. Without an observer that is not
// nil, Multi returns nil, which means "no observer". If one of several observers is a [Recorder],
// the result is a Recorder that calls each of them. The result has a method Unwrap, which returns
// the observers.
func Multi(observers ...Observer) Observer {
	var all multi
	for _, o := range observers {
		if o != nil {
			all = append(all, o)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}

	var recorders []Recorder
	for _, o := range all {
		if r, ok := o.(Recorder); ok {
			recorders = append(recorders, r)
		}
	}
	if len(recorders) > 0 {
		return multiRecorder{all, recorders}
	}
	return all
}

type multi []Observer

// Unwrap returns the observers, so that a package finds those with further methods.
func (m multi) Unwrap() []Observer { return m }

func (m multi) Start(ctx context.Context, op Operation) (context.Context, func(err error)) {
	ends := make([]func(error), len(m))
	for i, o := range m {
		ctx, ends[i] = o.Start(ctx, op)
	}
	return ctx, func(err error) {
		for i := len(ends) - 1; i >= 0; i-- {
			if ends[i] != nil {
				ends[i](err)
			}
		}
	}
}

type multiRecorder struct {
	multi
	recorders []Recorder
}

func (m multiRecorder) Record(ctx context.Context, op Operation, q Quantity, d time.Duration) {
	for _, r := range m.recorders {
		r.Record(ctx, op, q, d)
	}
}
