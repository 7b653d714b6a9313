package idempotency_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
)

// A record that this package has written can be read, whatever bytes a handler has put into its
// header. An unreadable record would be an outage until the end of Retention, and FailOpen would
// execute each repeated request.
func TestI2_AnyHeaderIsReplayed(t *testing.T) {
	t.Parallel()
	o := 0
	e := newExecutor(t, open(t, rig.Embedded(t).URL(), "app"), idempotency.Options{Outage: idempotency.FailOpen})
	lower := strings.ToLower("X-Lower")
	values := []string{"a\x01b", "a\x00", "\x7f", "caf\xe9", "", ": a", "a\tb", "a: b"}
	h := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		o++
		w.Header()["X-Bytes"] = values
		w.Header()[lower] = []string{"1"}
		w.WriteHeader(http.StatusCreated)
	}))
	for range 2 {
		w := request{key: "k"}.to(h)
		if w.Code != http.StatusCreated || !slices.Equal(w.Header()["X-Bytes"], values) || w.Header()[lower] == nil {
			t.Errorf("%d %q", w.Code, w.Header())
		}
	}
	if o != 1 {
		t.Errorf("%d executions", o)
	}
}

// A handler that sets an invalid status panics, as with net/http, and the key is free. A status
// without a response after it, 101, cannot be replayed.
func TestI2_AStatusThatCannotBeReplayed(t *testing.T) {
	t.Parallel()
	status := 0
	e := newExecutor(t, open(t, rig.Embedded(t).URL(), "app"), idempotency.Options{Outage: idempotency.FailOpen})
	h := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	for _, status = range []int{-1, 0, 99, 1000} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("the status %d was accepted", status)
				}
			}()
			request{key: "k"}.to(h)
		}()
	}
	status = http.StatusOK
	if w := (request{key: "k"}).to(h); w.Code != http.StatusOK || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("after the panics: %d %v", w.Code, w.Header())
	}

	status = http.StatusSwitchingProtocols
	if w := (request{key: "101"}).to(h); w.Code != status {
		t.Errorf("%d, want %d", w.Code, status)
	}
	wantCode(t, request{key: "101"}.to(h), http.StatusConflict, "not-repeatable")
	if s := e.Stats(); s.Executed != 6 || s.Released != 4 || s.Degraded != 0 {
		t.Errorf("%+v", s)
	}
}

// post sends a request to a real server, and returns the answer with its body.
func post(t *testing.T, server *httptest.Server, path, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", `"`+strings.Trim(path, "/")+`"`)
	r.Header.Set("Expect", "100-continue")
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

// The first answer of a handler is the same as without the middleware, and a repeated request gets
// the same answer except trailers. The control is a server without the middleware.
func TestI2_AnswersEqualThoseOfNetHTTP(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, open(t, rig.Embedded(t).URL(), "app"), idempotency.Options{})
	mux := http.NewServeMux()
	handlers := map[string]http.HandlerFunc{
		"/late-trailer": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 4096)) // net/http sends the header before the handler returns
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		},
		"/late-trailer-of-a-short-body": func(w http.ResponseWriter, _ *http.Request) { // net/http sends a length
			_, _ = io.WriteString(w, "body")
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		},
		"/trailer-without-body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("X-Sum", "4")
		},
		"/no-type": func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			_, _ = io.WriteString(w, "<html>")
		},
		"/detected-type": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>")
			_, _ = io.WriteString(w, "<body>")
		},
		"/early-hints": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusCreated)
		},
		"/echo": func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		"/not-modified": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"a"`)
			w.WriteHeader(http.StatusNotModified)
		},
	}
	for path, handler := range handlers {
		mux.HandleFunc(path, handler)
	}
	control, guarded := httptest.NewServer(mux), httptest.NewServer(e.Middleware(mux))
	t.Cleanup(control.Close)
	t.Cleanup(guarded.Close)

	for path := range handlers {
		want, wantBody := post(t, control, path, "a body")
		for i, name := range []string{"first", "repeated"} {
			got, body := post(t, guarded, path, "a body")
			trailer := want.Trailer
			if i == 1 {
				trailer = nil
			}
			for _, h := range []http.Header{want.Header, got.Header} {
				h.Del("Date")
				h.Del("Idempotent-Replayed")
			}
			if i == 1 && want.Trailer != nil { // the control has chunks in place of a length
				got.Header.Del("Content-Length")
			}
			if got.StatusCode != want.StatusCode || body != wantBody || !equal(got.Header, want.Header) || !equal(got.Trailer, trailer) {
				t.Errorf("%s, %s: %d %v %.40q %v, want %d %v %.40q %v", path, name, got.StatusCode, got.Header, body, got.Trailer,
					want.StatusCode, want.Header, wantBody, trailer)
			}
		}
	}
	if s := e.Stats(); s.Executed != s.Replayed {
		t.Errorf("%+v", s)
	}
}

func equal(a, b http.Header) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }
