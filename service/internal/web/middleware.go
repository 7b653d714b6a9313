package web

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// watched counts requests, and writes a line per request: at debug level, since a busy shop would write little else.
func (s *server) watched(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		logging := s.Log.Enabled(r.Context(), slog.LevelDebug)
		if !logging && s.Metrics == nil {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		took := time.Since(start)
		if logging {
			s.Log.DebugContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", answer.status, "took", took)
		}
		if s.Metrics != nil {
			_, pattern := mux.Handler(r) // again: what is refused on the way has a route too
			_, route, _ := strings.Cut(pattern, " ")
			s.Metrics.Request(r.Context(), r.Method, route, answer.status, took)
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

// Unwrap lets http.ResponseController reach what is beneath.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// recovered turns a panic into a 500 whose stack only the log sees.
func (s *server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler { // net/http's own way to drop a connection
				panic(cause)
			}
			s.Log.ErrorContext(r.Context(), "panic", "method", r.Method, "path", r.URL.Path, "cause", cause, "stack", string(debug.Stack()))
			newProblem(http.StatusInternalServerError, "").write(w)
		}()
		next.ServeHTTP(w, r)
	})
}

// secured tells browsers to run nothing but the shop's own files, and to show them in no other site's frame.
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

// sameOrigin refuses what another site's page makes a browser send, unless it only reads.
func (s *server) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		newProblem(http.StatusForbidden, "this request comes from another site").write(w)
	}))
	return protection.Handler(next)
}
