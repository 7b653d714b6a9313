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

// MiddlewareOption changes what Middleware and MiddlewareFor charge.
type MiddlewareOption func(*costs)

// costs are the options of one middleware.
type costs struct {
	before func(r *http.Request) int64
	after  func(r *http.Request, status int, bytes int64) int64
}

// Cost sets the tokens that a request costs before it is served; the default is one. A request that costs nothing, or less, passes
// without a charge. One that costs more than the rules can ever admit at once is 429 without Retry-After: waiting does not help.
func Cost(of func(r *http.Request) int64) MiddlewareOption {
	return func(c *costs) { c.before = of }
}

// ResponseCost adds tokens that are charged when the handler has returned, by the status and the bytes of the body that it wrote: a
// limit of bytes, for example. It runs on the request's goroutine; the charge, one round trip or a few, runs in the background.
//
// The response is sent already, so that the charge is never refused: what is above the tokens that are left is not charged. The
// bounds (R1) hold for what is charged: each request that was admitted can exceed them by its own response. A response whose handler
// panics is charged for what it has sent. A charge that Redis does not answer is dropped, and so are that of a hijacked connection
// and, while Redis is slow, those beyond 1,024 at once.
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
	defer func() { // also when the handler panics: a reverse proxy does so when its client goes away
		if counted.hijacked {
			return
		}
		if n := c.after(r, max(counted.status, http.StatusOK), counted.bytes); n > 0 {
			l.chargeLater(key, n)
		}
	}()
	next.ServeHTTP(counted, r)
}

// maxCharges is how many charges of responses are under way at once. While Redis is slow, further ones are dropped.
const maxCharges = 1024

var errCharges = fault.New(fault.ErrUnavailable, fmt.Errorf("%d charges of responses are under way: the charge was dropped", maxCharges), "")

// chargeLater charges for a response in the background.
func (l *Limiter) chargeLater(key string, n int64) {
	if l.charges.Add(1) > maxCharges {
		l.charges.Add(-1)
		l.counters.degraded.Add(1)
		l.core.Degraded("ratelimit", l.name, "charge dropped", errCharges)
		return
	}
	if !l.core.Group().Go("charge of a response", func(ctx context.Context) {
		defer l.charges.Add(-1)
		l.debit(ctx, key, n)
	}) {
		l.charges.Add(-1)
	}
}

// debit charges n tokens, or as many as are left.
func (l *Limiter) debit(ctx context.Context, key string, n int64) {
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
			n = min(part-1, result.Remaining) // another call can have taken some of what is left
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
	if w.status < http.StatusOK { // 1xx can precede the final status
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
		return // as without the method
	}
}

func (w *countedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = w.hijacked || err == nil
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
