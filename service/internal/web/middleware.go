package web

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// watched counts requests and logs each one at debug level.
func (s *server) watched(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		logging := s.Log.Enabled(r.Context(), slog.LevelDebug)
		if !logging && s.Metrics == nil {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		response := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(response, r)
		took := time.Since(start)
		if logging {
			s.Log.DebugContext(r.Context(), "shop: request", "method", r.Method, "path", r.URL.Path, "status",
				response.status, "took", took)
		}
		if s.Metrics != nil {
			_, pattern := mux.Handler(r) // requests that a middleware refuses have a route too
			_, route, _ := strings.Cut(pattern, " ")
			s.Metrics.Request(r.Context(), r.Method, route, response.status, took)
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap supports http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// recovered responds to a panic with a 500. Only the log contains the stack.
func (s *server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { // net/http drops the connection
				panic(cause)
			}
			s.Log.ErrorContext(r.Context(), "shop: a handler panicked", "method", r.Method, "path", r.URL.Path, "cause", cause,
				"stack", string(debug.Stack()))
			newProblem(http.StatusInternalServerError, "").write(w)
		}()
		next.ServeHTTP(w, r)
	})
}

// secured sets headers that make browsers run only the files of the shop, and forbid frames of
// other sites.
func secured(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// sameOrigin refuses requests of other sites, unless they only read.
func (s *server) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		newProblem(http.StatusForbidden, "this request comes from another site").write(w)
	}))
	return protection.Handler(next)
}
