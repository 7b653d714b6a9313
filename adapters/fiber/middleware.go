package redstartfiber

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/gofiber/fiber/v3"
)

// Use returns a middleware of net/http as a middleware of fiber: of a session manager, a limiter, a
// concurrency limit or an idempotency executor. The pattern of the route is in Request.Pattern, so
// that ratelimit.Route(nil) returns it.
//
// The handler runs inside the middleware, in contrast to adaptor.HTTPMiddleware of fiber. So a
// permit is held while it runs, and the cookie of a login is in its response. If a handler returns
// an error, the ErrorHandler of the app answers it inside of the middleware too.
func Use(middleware func(http.Handler) http.Handler) fiber.Handler {
	return func(c fiber.Ctx) error {
		r, err := requestOf(c)
		if err != nil { // fasthttp accepts targets that are no URL
			return fiber.ErrBadRequest
		}
		before := c.Context()
		defer c.SetContext(before)

		w := &response{header: headerOf(c)} // an executor does not store what outer middlewares have set
		streams := false
		var failed error
		middleware(http.HandlerFunc(func(inner http.ResponseWriter, r *http.Request) {
			c.SetContext(r.Context())
			if err := c.Next(); err != nil {
				failed = c.App().ErrorHandler(c, err)
			}
			streams = c.Response().IsBodyStream()
			move(c, inner, streams)
		})).ServeHTTP(w, r.WithContext(context.WithValue(before, http.LocalAddrContextKey, c.RequestCtx().LocalAddr())))
		if failed != nil {
			return failed
		}
		w.sendTo(c, streams)
		return nil
	}
}

// requestOf returns the request of fiber as one of net/http. It copies all texts except the body:
// fiber reuses their memory after the handler, and a middleware may keep them, such as the key of a
// limit. A repeated field stays repeated.
func requestOf(c fiber.Ctx) (*http.Request, error) {
	fast := c.RequestCtx()
	uri := string(fast.RequestURI())
	target, err := url.ParseRequestURI(uri)
	if err != nil {
		return nil, err
	}

	header := http.Header{}
	for name, value := range fast.Request.Header.All() {
		if name := string(name); name != "Host" { // as in net/http
			header.Add(name, string(value))
		}
	}
	body := fast.PostBody()
	r := &http.Request{
		Method: string(fast.Method()), URL: target, RequestURI: uri, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		Host: string(fast.Host()), RemoteAddr: fast.RemoteAddr().String(), TLS: fast.TLSConnectionState(),
	}
	r.Pattern = r.Method + " " + c.FullPath()
	return r, nil
}

// move moves the response of a handler to the ResponseWriter of the middleware. A stream stays
// where it is: it is written after the handler.
func move(c fiber.Ctx, w http.ResponseWriter, streams bool) {
	fast := c.Response()
	header := w.Header()
	for name, values := range headerOf(c) {
		header[name] = values
	}
	w.WriteHeader(fast.StatusCode())
	if flusher, ok := w.(http.Flusher); ok && streams {
		flusher.Flush() // an executor records that the response cannot be repeated
	}
	if body := fast.Body(); !streams && len(body) > 0 {
		_, _ = w.Write(body) // the writer of this package returns no error
		fast.ResetBody()
	}
	for name := range header {
		fast.Header.Del(name)
	}
}

// headerOf returns the header of the response of fiber.
func headerOf(c fiber.Ctx) http.Header {
	header := http.Header{}
	for name, value := range c.Response().Header.All() {
		if name := http.CanonicalHeaderKey(string(name)); name != "Content-Length" && name != "Date" {
			header.Add(name, string(value))
		}
	}
	return header
}

// response is the outer ResponseWriter. fasthttp sends a response after its handler.
type response struct {
	header http.Header
	status int
	body   []byte
}

func (w *response) Header() http.Header { return w.header }
func (w *response) Flush()              {}

func (w *response) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	return len(b), nil
}

// sendTo makes the response the response of fiber.
func (w *response) sendTo(c fiber.Ctx, streams bool) {
	w.WriteHeader(http.StatusOK)
	fast := c.Response()
	fast.SetStatusCode(w.status)
	for name, values := range w.header {
		for i, value := range values {
			if i == 0 && name != "Set-Cookie" {
				fast.Header.Set(name, value)
			} else {
				fast.Header.Add(name, value)
			}
		}
	}
	if !streams {
		fast.SetBody(w.body)
	}
}
