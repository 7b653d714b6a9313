package ratelimit

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/redstart-go/redstart/internal/fault"
)

// MiddlewareOption changes what [Limiter.Middleware] and [MiddlewareFor] charge.
type MiddlewareOption func(*costs)

// costs are the options of one middleware.
type costs struct {
	before func(r *http.Request) int64
	after  func(r *http.Request, status int, bytes int64) int64
}

// Cost sets the tokens that a request is charged before it is served. Default 1. A request with a
// cost of 0 or less passes without a charge. If the cost exceeds what the rules can ever admit at
// once, the response is 429 without Retry-After.
func Cost(of func(r *http.Request) int64) MiddlewareOption {
	return func(c *costs) { c.before = of }
}

// ResponseCost adds tokens that are charged after the handler has returned. They depend on the
// status and the bytes of the body, for example for a limit of bytes. The function runs on the
// request's goroutine. The charge runs in the background, in one or a few round trips.
//
// The response was sent already, so the charge is never refused: tokens above the remaining ones
// are not charged. The bounds (R1) hold for charged tokens, so each admitted request can exceed
// them by its own response. If a handler panics, the sent part of its response is charged. These
// charges are dropped: charges that Redis does not answer, charges of hijacked connections, and
// charges beyond 1,024 at once.
func ResponseCost(of func(r *http.Request, status int, bytes int64) int64) MiddlewareOption {
	return func(c *costs) { c.after = of }
}

func newCosts(opts []MiddlewareOption) *costs {
	c := &costs{}
	for _, o := range opts {
		o(c)
	}
	return c
}

// serve calls next, and charges for the response.
func (c *costs) serve(l *Limiter, key string, known bool, next http.Handler, w http.ResponseWriter, r *http.Request) {
	if c.after == nil || !known {
		next.ServeHTTP(w, r)
		return
	}

	counted := &countedWriter{ResponseWriter: w}
	// also if the handler panics, as a reverse proxy does when its client disconnects
	defer func() {
		if counted.hijacked {
			return
		}
		if n := c.after(r, max(counted.status, http.StatusOK), counted.bytes); n > 0 {
			l.chargeInBackground(key, n)
		}
	}()
	next.ServeHTTP(counted, r)
}

// maxCharges is how many charges of responses are in flight. While Redis is slow, further charges
// are dropped.
const maxCharges = 1024

var errCharges = fault.New(fault.ErrUnavailable,
	fmt.Errorf("%d charges of responses are in flight: the charge was dropped", maxCharges), "")

// chargeInBackground charges for a response in the background.
func (l *Limiter) chargeInBackground(key string, n int64) {
	if l.charges.Add(1) > maxCharges {
		l.charges.Add(-1)
		l.counters.degraded.Add(1)
		l.core.Degraded("ratelimit", l.name, "charge dropped", errCharges)
		return
	}

	if !l.core.Group().Work("charge of a response", func(ctx context.Context) {
		defer l.charges.Add(-1)
		l.chargeUpTo(ctx, key, n)
	}) {
		l.charges.Add(-1)
	}
}

// chargeUpTo charges n tokens, or the remaining ones.
func (l *Limiter) chargeUpTo(ctx context.Context, key string, n int64) {
	ctx, cancel := context.WithTimeout(ctx, 2*l.timeout())
	defer cancel()
	for n > 0 {
		part := min(n, l.plan.most)
		result, err := l.allow(ctx, key, part, nil)
		switch {
		case err != nil || result.Degraded:
			return
		case result.Allowed:
			n -= part
		default:
			n = min(part-1, result.Remaining) // another call can have taken tokens in the meantime
		}
	}
}

// countedWriter counts the bytes of a body.
type countedWriter struct {
	http.ResponseWriter
	status   int
	bytes    int64
	hijacked bool
}

func (w *countedWriter) WriteHeader(status int) {
	if w.status < http.StatusOK { // a 1xx status can precede the final status
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countedWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the fast path of files.
func (w *countedWriter) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(w.ResponseWriter, r)
	w.bytes += n
	return n, err
}

func (w *countedWriter) Flush() {
	if err := http.NewResponseController(w.ResponseWriter).Flush(); errors.Is(err, http.ErrNotSupported) {
		return // the request behaves as if the method did not exist
	}
}

func (w *countedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = w.hijacked || err == nil
	return conn, rw, err
}

// Unwrap returns the wrapped writer, for http.ResponseController.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
