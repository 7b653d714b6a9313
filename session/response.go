package session

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
)

// response is the ResponseWriter that a handler gets: it learns when the header goes out, and puts the cookies in just before. What it
// can beyond that is decided by what the server's can: see capable.
type response struct {
	w       http.ResponseWriter
	cookies interface {
		setCookies(h http.Header, session, remember bool)
	}

	mu       sync.Mutex
	settled  *sync.Cond // made by reserve
	reserved int        // calls on their way whose cookie the header must wait for
	out      bool       // the header has gone out, or the connection was taken over
	session  bool       // a session cookie is to be sent
	remember bool       // a remember-me cookie is to be sent
	needed   bool       // the cookies must not be lost: they are not only a recall's, which can be repeated
}

// reserve keeps the header back until settle; false if it has gone out.
func (x *response) reserve() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.out {
		return false
	}
	if x.settled == nil {
		x.settled = sync.NewCond(&x.mu)
	}
	x.reserved++
	return true
}

func (x *response) settle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reserved--
	x.settled.Broadcast()
}

// send has cookies sent with the header, if it has not gone out. Dispensable cookies may be lost when the connection is taken over.
func (x *response) send(session, remember, dispensable bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.session, x.remember, x.needed = x.session || session, x.remember || remember, x.needed || !dispensable
}

// begin is called before whatever sends the header.
func (x *response) begin() {
	x.mu.Lock()
	for x.reserved > 0 {
		x.settled.Wait() // a call's deadline bounds it
	}
	first, session, remember := !x.out, x.session, x.remember
	x.out = true
	x.mu.Unlock()
	if !first {
		return
	}
	vary(x.w.Header())
	if session || remember {
		x.cookies.setCookies(x.w.Header(), session, remember)
	}
}

func (x *response) Header() http.Header { return x.w.Header() }

func (x *response) WriteHeader(code int) {
	// 103 Early Hints and the like come before the header; 101 is the header.
	if code < 100 || code > 199 || code == http.StatusSwitchingProtocols {
		x.begin()
	}
	x.w.WriteHeader(code)
}

func (x *response) Write(b []byte) (int, error) {
	x.begin()
	return x.w.Write(b)
}

func (x *response) WriteString(s string) (int, error) {
	x.begin()
	return io.WriteString(x.w, s)
}

// Unwrap is for http.ResponseController: deadlines, full duplex, and what is still to be invented. What
// could send the header, we have ourselves whenever something behind Unwrap has it.
func (x *response) Unwrap() http.ResponseWriter { return x.w }

// FlushError is asked first by http.ResponseController.
func (x *response) FlushError() error {
	if !reaches[http.Flusher](x.w) && !reaches[interface{ FlushError() error }](x.w) {
		return http.ErrNotSupported // nothing is sent
	}
	x.begin()
	return http.NewResponseController(x.w).Flush()
}

func (x *response) flush() {
	// An error is for who asks with FlushError; Flusher has no way to tell it.
	_ = x.FlushError()
}

func (x *response) hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.mu.Lock()
	for x.reserved > 0 {
		x.settled.Wait()
	}
	lost := !x.out && x.needed
	x.mu.Unlock()
	if lost {
		// The header is now the handler's to write: the cookie would be lost unseen.
		return nil, nil, ErrCookieTooLate
	}
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err == nil {
		x.begin()
	}
	return conn, rw, err
}

func (x *response) readFrom(r io.Reader) (int64, error) {
	x.begin()
	from, ok := x.w.(io.ReaderFrom)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return from.ReadFrom(r)
}

func (x *response) push(target string, opts *http.PushOptions) error {
	pusher, ok := x.w.(http.Pusher)
	if !ok {
		return http.ErrNotSupported
	}
	return pusher.Push(target, opts)
}

// reaches reports whether w, or what it unwraps to, is a C.
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

// capable returns the response as a ResponseWriter with exactly the optional interfaces that the server's has. The types below are one
// pointer wide, so that choosing one allocates nothing.
func (x *response) capable() http.ResponseWriter {
	has := 0
	if reaches[http.Flusher](x.w) || reaches[interface{ FlushError() error }](x.w) {
		has |= canFlush
	}
	if reaches[http.Hijacker](x.w) {
		has |= canHijack
	}
	if _, ok := x.w.(io.ReaderFrom); ok {
		has |= canReadFrom
	}
	if _, ok := x.w.(http.Pusher); ok {
		has |= canPush
	}
	switch has {
	case canFlush:
		return withF{x}
	case canHijack:
		return withH{x}
	case canFlush | canHijack:
		return withFH{x}
	case canReadFrom:
		return withR{x}
	case canFlush | canReadFrom:
		return withFR{x}
	case canHijack | canReadFrom:
		return withHR{x}
	case canFlush | canHijack | canReadFrom:
		return withFHR{x}
	case canPush:
		return withP{x}
	case canFlush | canPush:
		return withFP{x}
	case canHijack | canPush:
		return withHP{x}
	case canFlush | canHijack | canPush:
		return withFHP{x}
	case canReadFrom | canPush:
		return withRP{x}
	case canFlush | canReadFrom | canPush:
		return withFRP{x}
	case canHijack | canReadFrom | canPush:
		return withHRP{x}
	case canFlush | canHijack | canReadFrom | canPush:
		return withFHRP{x}
	}
	return x
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
