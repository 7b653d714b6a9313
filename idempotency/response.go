package idempotency

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// response is the ResponseWriter of a handler. It keeps the response in memory until it is
// recorded, so that no byte is sent before the record has the result (I2).
type response struct {
	executor *Executor
	w        http.ResponseWriter
	lease    *lease

	before http.Header // of the outer ResponseWriter, when the handler began
	frozen http.Header // at WriteHeader; later changes have no effect
	status int         // 0 before WriteHeader
	body   []byte
	stage  stage
}

// stage is the state of a response.
//
//	from       to         when
//	buffering  streaming  flush, hijack, or more than MaxResponseBytes
//	buffering  sent       the handler returned; the result is stored or the key is free
//	streaming  sent       the handler returned
//	any        abandoned  the handler panicked
type stage uint8

const (
	buffering stage = iota
	streaming       // the bytes go to the client; the record is notRepeatable, or the status is retryable
	sent
	abandoned
)

func newResponse(e *Executor, w http.ResponseWriter, l *lease) *response {
	return &response{executor: e, w: w, lease: l, before: w.Header().Clone()}
}

// Header returns the header of the outer ResponseWriter.
func (r *response) Header() http.Header { return r.w.Header() }

// Unwrap supports http.ResponseController: deadlines and full duplex. response implements each
// operation that can send the header.
func (r *response) Unwrap() http.ResponseWriter { return r.w }

func (r *response) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999: // as net/http does; the panic frees the key
		panic(fmt.Sprintf("idempotency: WriteHeader: the status is %d: it must be from 100 to 999", status))
	case status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols:
		r.w.WriteHeader(status) // 103 Early Hints and the like come before the header
	case r.status != 0:
		// net/http ignores a second header too.
	default:
		r.status, r.frozen = status, r.w.Header().Clone()
	}
}

func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(r.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if r.stage == buffering && len(r.body)+len(b) > r.executor.opt.MaxResponseBytes {
		r.stream()
	}
	if r.stage != buffering {
		return r.w.Write(b)
	}
	r.body = append(r.body, b...)
	return len(b), nil
}

// FlushError is the first choice of http.ResponseController.
func (r *response) FlushError() error {
	if !canFlush(r.w) {
		return http.ErrNotSupported // and nothing is sent
	}
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.stage == buffering {
		r.stream()
	}
	return http.NewResponseController(r.w).Flush()
}

// Hijack gives the connection to the handler.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if r.stage != buffering || r.status != 0 {
		return nil, nil, errors.New("idempotency: hijack: the response has begun: hijack before the header is written")
	}
	conn, rw, err := http.NewResponseController(r.w).Hijack()
	if err == nil {
		r.status = http.StatusSwitchingProtocols
		r.settle()
		r.stage = streaming
	}
	return conn, rw, err
}

// stream records that the response is not repeatable, and sends what is in memory.
func (r *response) stream() {
	r.settle()
	r.stage = streaming
	r.sendHeader()
	if len(r.body) > 0 {
		_, _ = r.w.Write(r.body) // the next write of the handler returns the error
		r.body = nil
	}
}

// settle ends the lease and records an execution without a result. The lease of a retryable
// response is kept until the handler returns, and then released.
func (r *response) settle() {
	if r.executor.retryable(r.status) {
		return
	}
	r.lease.end()
	r.executor.keep(r.lease, nil)
	r.lease = nil
}

// finish records the result after the handler has returned, and sends it.
func (r *response) finish() {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.stage == streaming {
		r.stage = sent
		r.release()
		return
	}

	res := newResult(r.status, r.before, r.frozen, string(r.body))
	if r.status == http.StatusSwitchingProtocols || res.size() > r.executor.opt.MaxResponseBytes {
		res = nil
	}
	free := r.executor.retryable(r.status) // user code: until it returns, a panic frees the key
	r.stage = sent
	if free {
		r.release()
	} else {
		r.lease.end()
		r.executor.keep(r.lease, res)
	}

	r.sendHeader()
	if len(r.body) > 0 {
		_, _ = r.w.Write(r.body) // a client that has disconnected can ask again
	}
}

// abandon frees the key after a panic, unless the response is recorded.
func (r *response) abandon() {
	if r.stage != sent {
		r.stage = abandoned
		r.release()
	}
}

// release frees the key if the response still has its lease.
func (r *response) release() {
	if r.lease != nil {
		r.lease.end()
		r.executor.counts.released.Add(1)
		r.executor.free(r.lease.record)
		r.lease = nil
	}
}

// sendHeader sends the header as it was at WriteHeader. Trailers that the handler has set since
// then stay, because net/http reads them after the body.
func (r *response) sendHeader() {
	header := r.w.Header()
	trailers := maps.Clone(header)
	maps.DeleteFunc(trailers, func(name string, _ []string) bool {
		return !strings.HasPrefix(name, http.TrailerPrefix) && !names(r.frozen["Trailer"], name)
	})
	defer maps.Copy(header, trailers)

	clear(header)
	maps.Copy(header, r.frozen)
	whole := r.stage == sent && len(trailers) == 0 && header["Trailer"] == nil
	if whole && bodyAllowed(r.status) && header["Content-Length"] == nil {
		header.Set("Content-Length", strconv.Itoa(len(r.body)))
	}
	r.w.WriteHeader(r.status)
}

// flushing is a response on a ResponseWriter that can flush.
type flushing struct{ *response }

// Flush sends what is in memory. The response is then not repeatable.
func (f flushing) Flush() {
	_ = f.FlushError() // Flusher can't return an error. Callers that need it use FlushError.
}

// withCapabilities returns the response as an http.Flusher if the outer ResponseWriter can flush.
func (r *response) withCapabilities() http.ResponseWriter {
	if canFlush(r.w) {
		return flushing{r}
	}
	return r
}

// canFlush reports whether w, or a writer that it unwraps to, can flush.
func canFlush(w http.ResponseWriter) bool {
	for {
		switch inner := w.(type) {
		case http.Flusher, interface{ FlushError() error }:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = inner.Unwrap()
		default:
			return false
		}
	}
}
