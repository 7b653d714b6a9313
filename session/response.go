package session

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// response is the ResponseWriter of a handler. It adds the cookies just before the header is sent.
// Its optional interfaces are the interfaces of the server's ResponseWriter, see withCapabilities.
type response struct {
	w       http.ResponseWriter
	cookies interface {
		setCookies(h http.Header, session, remember bool)
	}

	mu         sync.Mutex
	unreserved *sync.Cond // made by reserve
	reserved   int        // calls in flight whose cookie the header must wait for
	out        bool       // the header was sent, or the connection was hijacked
	session    bool       // send a session cookie
	remember   bool       // send a remember-me cookie
	needed     bool       // the cookies must not be lost; only the cookies of a recall may be lost, it can be repeated
}

// reserve delays the header until release. It returns false if the header was sent.
func (r *response) reserve() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out {
		return false
	}
	if r.unreserved == nil {
		r.unreserved = sync.NewCond(&r.mu)
	}
	r.reserved++
	return true
}

func (r *response) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reserved--
	r.unreserved.Broadcast()
}

// send adds cookies to the header, if it was not sent. Optional cookies may be lost if the
// connection is hijacked.
func (r *response) send(session, remember, optional bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.session, r.remember, r.needed = r.session || session, r.remember || remember, r.needed || !optional
}

// begin is called before each operation that sends the header.
func (r *response) begin() {
	r.mu.Lock()
	for r.reserved > 0 {
		r.unreserved.Wait() // bounded by the deadline of a call
	}
	first, session, remember := !r.out, r.session, r.remember
	r.out = true
	r.mu.Unlock()
	if !first {
		return
	}
	vary(r.w.Header())
	if session || remember {
		r.cookies.setCookies(r.w.Header(), session, remember)
	}
}

func (r *response) Header() http.Header { return r.w.Header() }

func (r *response) WriteHeader(code int) {
	// 103 Early Hints and the like come before the header. 101 is the header.
	if code < 100 || code > 199 || code == http.StatusSwitchingProtocols {
		r.begin()
	}
	r.w.WriteHeader(code)
}

func (r *response) Write(b []byte) (int, error) {
	r.begin()
	return r.w.Write(b)
}

func (r *response) WriteString(s string) (int, error) {
	r.begin()
	return io.WriteString(r.w, s)
}

// Unwrap supports http.ResponseController: deadlines, full duplex and future features. response
// implements each operation that can send the header itself, if the wrapped writer supports it.
func (r *response) Unwrap() http.ResponseWriter { return r.w }

// FlushError is the first choice of http.ResponseController.
func (r *response) FlushError() error {
	if !reaches[http.Flusher](r.w) && !reaches[interface{ FlushError() error }](r.w) {
		return http.ErrNotSupported // and nothing is sent
	}
	r.begin()
	return http.NewResponseController(r.w).Flush()
}

func (r *response) flush() {
	// Flusher can't return an error. Callers that need it use FlushError.
	_ = r.FlushError()
}

func (r *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	r.mu.Lock()
	for r.reserved > 0 {
		r.unreserved.Wait()
	}
	lost := !r.out && r.needed
	r.mu.Unlock()
	if lost {
		// The handler would write the header itself, and the cookie would be lost.
		return nil, nil, ErrCookieTooLate
	}
	conn, rw, err := http.NewResponseController(r.w).Hijack()
	if err == nil {
		r.begin()
	}
	return conn, rw, err
}

func (r *response) readFrom(src io.Reader) (int64, error) {
	r.begin()
	from, ok := r.w.(io.ReaderFrom)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return from.ReadFrom(src)
}

func (r *response) push(target string, opts *http.PushOptions) error {
	pusher, ok := r.w.(http.Pusher)
	if !ok {
		return http.ErrNotSupported
	}
	return pusher.Push(target, opts)
}

// reaches reports whether w, or a writer that it unwraps to, is a C.
func reaches[C any](w http.ResponseWriter) bool {
	for {
		if _, ok := w.(C); ok {
			return true
		}
		inner, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = inner.Unwrap()
	}
}

// withCapabilities returns the response as a ResponseWriter with exactly the optional interfaces of
// the server's ResponseWriter. Each type below is one pointer wide, so that the choice allocates
// nothing.
func (r *response) withCapabilities() http.ResponseWriter {
	has := 0
	if reaches[http.Flusher](r.w) || reaches[interface{ FlushError() error }](r.w) {
		has |= canFlush
	}
	if reaches[http.Hijacker](r.w) {
		has |= canHijack
	}
	if _, ok := r.w.(io.ReaderFrom); ok {
		has |= canReadFrom
	}
	if _, ok := r.w.(http.Pusher); ok {
		has |= canPush
	}
	switch has {
	case canFlush:
		return withF{r}
	case canHijack:
		return withH{r}
	case canFlush | canHijack:
		return withFH{r}
	case canReadFrom:
		return withR{r}
	case canFlush | canReadFrom:
		return withFR{r}
	case canHijack | canReadFrom:
		return withHR{r}
	case canFlush | canHijack | canReadFrom:
		return withFHR{r}
	case canPush:
		return withP{r}
	case canFlush | canPush:
		return withFP{r}
	case canHijack | canPush:
		return withHP{r}
	case canFlush | canHijack | canPush:
		return withFHP{r}
	case canReadFrom | canPush:
		return withRP{r}
	case canFlush | canReadFrom | canPush:
		return withFRP{r}
	case canHijack | canReadFrom | canPush:
		return withHRP{r}
	case canFlush | canHijack | canReadFrom | canPush:
		return withFHRP{r}
	}
	return r
}

const (
	canFlush = 1 << iota
	canHijack
	canReadFrom
	canPush
)

type (
	withF    struct{ *response }
	withH    struct{ *response }
	withFH   struct{ *response }
	withR    struct{ *response }
	withFR   struct{ *response }
	withHR   struct{ *response }
	withFHR  struct{ *response }
	withP    struct{ *response }
	withFP   struct{ *response }
	withHP   struct{ *response }
	withFHP  struct{ *response }
	withRP   struct{ *response }
	withFRP  struct{ *response }
	withHRP  struct{ *response }
	withFHRP struct{ *response }
)

func (w withF) Flush()    { w.flush() }
func (w withFH) Flush()   { w.flush() }
func (w withFR) Flush()   { w.flush() }
func (w withFHR) Flush()  { w.flush() }
func (w withFP) Flush()   { w.flush() }
func (w withFHP) Flush()  { w.flush() }
func (w withFRP) Flush()  { w.flush() }
func (w withFHRP) Flush() { w.flush() }

func (w withH) Hijack() (net.Conn, *bufio.ReadWriter, error)    { return w.hijack() }
func (w withFH) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return w.hijack() }
func (w withHR) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return w.hijack() }
func (w withFHR) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return w.hijack() }
func (w withHP) Hijack() (net.Conn, *bufio.ReadWriter, error)   { return w.hijack() }
func (w withFHP) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return w.hijack() }
func (w withHRP) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return w.hijack() }
func (w withFHRP) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func (w withR) ReadFrom(r io.Reader) (int64, error)    { return w.readFrom(r) }
func (w withFR) ReadFrom(r io.Reader) (int64, error)   { return w.readFrom(r) }
func (w withHR) ReadFrom(r io.Reader) (int64, error)   { return w.readFrom(r) }
func (w withFHR) ReadFrom(r io.Reader) (int64, error)  { return w.readFrom(r) }
func (w withRP) ReadFrom(r io.Reader) (int64, error)   { return w.readFrom(r) }
func (w withFRP) ReadFrom(r io.Reader) (int64, error)  { return w.readFrom(r) }
func (w withHRP) ReadFrom(r io.Reader) (int64, error)  { return w.readFrom(r) }
func (w withFHRP) ReadFrom(r io.Reader) (int64, error) { return w.readFrom(r) }

func (w withP) Push(t string, o *http.PushOptions) error    { return w.push(t, o) }
func (w withFP) Push(t string, o *http.PushOptions) error   { return w.push(t, o) }
func (w withHP) Push(t string, o *http.PushOptions) error   { return w.push(t, o) }
func (w withFHP) Push(t string, o *http.PushOptions) error  { return w.push(t, o) }
func (w withRP) Push(t string, o *http.PushOptions) error   { return w.push(t, o) }
func (w withFRP) Push(t string, o *http.PushOptions) error  { return w.push(t, o) }
func (w withHRP) Push(t string, o *http.PushOptions) error  { return w.push(t, o) }
func (w withFHRP) Push(t string, o *http.PushOptions) error { return w.push(t, o) }
