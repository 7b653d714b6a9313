package redstartgin

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// Use returns a middleware of net/http as a middleware of gin: of a session manager, a limiter, a
// concurrency limit or an idempotency executor. The pattern of the route is in Request.Pattern, so
// that ratelimit.Route(nil) returns it.
func Use(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		outer, request := c.Writer, c.Request
		defer func() { c.Writer, c.Request = outer, request }() // also after a panic, which gin.Recovery answers
		if path := c.FullPath(); path != "" {
			c.Request = request.WithContext(request.Context()) // a copy: the pattern is of this router
			c.Request.Pattern = request.Method + " " + path
		}

		passed := false
		middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			passed = true
			inner := &writer{ResponseWriter: outer, w: w, status: http.StatusOK, size: -1}
			c.Writer, c.Request = inner, r
			c.Next()
			inner.WriteHeaderNow()
		})).ServeHTTP(outer, c.Request)
		if !passed {
			c.Abort() // the middleware has answered
		}
	}
}

// writer is a gin.ResponseWriter on the ResponseWriter of a middleware. Like the writer of gin, it
// sends the header with the first byte, or after the handler.
type writer struct {
	gin.ResponseWriter // of the server: Pusher and CloseNotify
	w                  http.ResponseWriter
	status             int
	size               int // -1 until the header is sent
}

func (w *writer) Header() http.Header         { return w.w.Header() }
func (w *writer) Status() int                 { return w.status }
func (w *writer) Size() int                   { return w.size }
func (w *writer) Written() bool               { return w.size >= 0 }
func (w *writer) Unwrap() http.ResponseWriter { return w.w }

func (w *writer) WriteHeader(status int) {
	if status > 0 && !w.Written() {
		w.status = status
	}
}

func (w *writer) WriteHeaderNow() {
	if !w.Written() {
		w.size = 0
		w.w.WriteHeader(w.status)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeaderNow()
	n, err := w.w.Write(b)
	w.size += n
	return n, err
}

func (w *writer) WriteString(s string) (int, error) {
	w.WriteHeaderNow()
	n, err := io.WriteString(w.w, s)
	w.size += n
	return n, err
}

func (w *writer) Flush() {
	w.WriteHeaderNow()
	_ = http.NewResponseController(w.w).Flush() // Flusher can't return an error
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.w).Hijack()
	if err == nil {
		w.size = 0
	}
	return conn, rw, err
}
