package idempotency_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// The suite that every engine passes.
func TestEveryEngine(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		for name, behaviour := range map[string]func(*testing.T, *redstart.Client){
			"replay": replays, "keys": separates, "in flight": refusesInFlight, "requests": refuses,
			"policies": policies, "without a result": releases, "streams": streams, "expiry": expires,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				behaviour(t, client)
			})
		}
	})
}

// replays executes a request, and replays status, header and body of all kinds.
func replays(t *testing.T, client *redstart.Client) {
	e := newExecutor(t, client, idempotency.Options{})
	for name, handler := range map[string]http.HandlerFunc{
		"created": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/orders/42")
			w.Header()["Link"] = []string{"</a>; rel=a", "</b>; rel=b"}
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"id":42}`))
		},
		"nothing written": func(http.ResponseWriter, *http.Request) {},
		"no content":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"an error":        func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"binary": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Latin", "caf\xe9")
			_, _ = w.Write([]byte("\x00\xff\r\n"))
		},
		"late header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Early", "1")
			w.WriteHeader(http.StatusAccepted)
			w.Header().Set("X-Late", "1")
			w.WriteHeader(http.StatusTeapot)
		},
	} {
		executed := 0
		h := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			executed++
			handler(w, r)
		}))
		first, again := request{key: name, body: "x"}.to(h), request{key: name, body: "x"}.to(h)
		if executed != 1 {
			t.Errorf("%s: executed %d times", name, executed)
		}
		if again.Header().Get("Idempotent-Replayed") != "true" || first.Header().Get("Idempotent-Replayed") != "" {
			t.Errorf("%s: first %v, again %v", name, first.Header(), again.Header())
		}
		again.Header().Del("Idempotent-Replayed")
		if first.Code != again.Code || first.Body.String() != again.Body.String() ||
			!maps.EqualFunc(first.Header(), again.Header(), slices.Equal[[]string]) {
			t.Errorf("%s: first %d %v %q, again %d %v %q", name, first.Code, first.Header(), first.Body,
				again.Code, again.Header(), again.Body)
		}
		if again.Header().Get("X-Late") != "" {
			t.Errorf("%s: a header field that was set after the header: %v", name, again.Header())
		}
	}
}

// separates has requests whose keys are different, and one that is equal.
func separates(t *testing.T, client *redstart.Client) {
	o := &orders{}
	h := newExecutor(t, client, idempotency.Options{Scope: func(r *http.Request) (string, error) {
		return r.Header.Get("X-User"), nil
	}}).Middleware(o)
	as := func(user string) http.Header { return http.Header{"X-User": {user}} }
	for i, q := range []request{
		{key: "k", header: as("ada")},
		{key: "k", header: as("bob")},
		{key: "k2", header: as("ada")},
		{key: "x|k", header: as("eve")}, // no text of a client crosses the border between scope and key
		{key: "k", header: as("eve|x")},
		{key: "3=eve|k", header: as("")},
		{key: "{a}*?:%"},
		{key: strings.Repeat("k", 255), header: as(strings.Repeat("s", 512))},
	} {
		if w := q.to(h); w.Code != http.StatusCreated || o.executed.Load() != int64(i+1) {
			t.Errorf("%+v: %d, %d executions, want %d", q, w.Code, o.executed.Load(), i+1)
		}
	}
	if w := (request{key: "k", header: as("ada")}).to(h); w.Body.String() != "#" {
		t.Errorf("the first request again: %q", w.Body)
	}
}

// refusesInFlight repeats a request while its handler runs.
func refusesInFlight(t *testing.T, client *redstart.Client) {
	b := newBlocking()
	e := newExecutor(t, client, idempotency.Options{})
	h := e.Middleware(b)
	first := inBackground(h, request{key: "k"})
	<-b.began
	for range 2 {
		w := request{key: "k"}.to(h)
		wantCode(t, w, http.StatusConflict, "in-flight")
		if w.Header().Get("Retry-After") != "1" {
			t.Errorf("no Retry-After: %v", w.Header())
		}
	}
	wantCode(t, request{key: "k", body: "other"}.to(h), http.StatusUnprocessableEntity, "key-reused")
	b.end <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }
	if w := <-first; w.Code != http.StatusCreated {
		t.Errorf("the first request: %d", w.Code)
	}
	if w := (request{key: "k"}).to(h); w.Code != http.StatusCreated {
		t.Errorf("after the first request: %d", w.Code)
	}
	if s := e.Stats(); s.Executed != 1 || s.InFlight != 2 || s.Reused != 1 || s.Replayed != 1 {
		t.Errorf("%+v", s)
	}
}

// refuses sends requests that are not executed, and requests that pass.
func refuses(t *testing.T, client *redstart.Client) {
	failing := errors.New("the database does not answer")
	scope := func(r *http.Request) (string, error) {
		switch user := r.Header.Get("X-User"); user {
		case "unknown":
			return "", idempotency.ErrNoScope
		case "failing":
			return "", failing
		case "long":
			return strings.Repeat("s", 513), nil
		default:
			return user, nil
		}
	}
	o := &orders{}
	e := newExecutor(t, client, idempotency.Options{Scope: scope, Required: true, MaxRequestBytes: 10, DocumentationURL: "https://example.com/docs"})
	h := e.Middleware(o)
	for _, c := range []struct {
		q      request
		status int
		code   string
	}{
		{request{}, 400, "key-missing"},
		{request{header: http.Header{"Idempotency-Key": {"bare"}}}, 400, "key-malformed"},
		{request{header: http.Header{"Idempotency-Key": {`"a"`, `"b"`}}}, 400, "key-malformed"},
		{request{key: strings.Repeat("k", 256)}, 400, "key-malformed"},
		{request{key: "k", header: http.Header{"X-User": {"unknown"}}}, 400, "no-client"},
		{request{key: "k", header: http.Header{"X-User": {"failing"}}}, 500, "scope-failed"},
		{request{key: "k", header: http.Header{"X-User": {"long"}}}, 500, "scope-failed"},
		{request{key: "k", body: strings.Repeat("b", 11)}, 413, "body-too-large"},
	} {
		w := c.q.to(h)
		wantCode(t, w, c.status, c.code)
		if !strings.Contains(w.Body.String(), `"type":"https://example.com/docs"`) {
			t.Errorf("no link to the documentation: %s", w.Body)
		}
	}
	if n := o.executed.Load(); n != 0 {
		t.Fatalf("%d executions", n)
	}
	if w := (request{key: "k", body: strings.Repeat("b", 10)}).to(h); w.Code != http.StatusCreated {
		t.Errorf("a body of the limit: %d %s", w.Code, w.Body)
	}
	if w := (request{method: http.MethodPut}).to(h); w.Code != http.StatusCreated {
		t.Errorf("another method: %d", w.Code)
	}
	if s := e.Stats(); s.Missing != 1 || s.Malformed != 3 || s.TooLarge != 1 || s.Executed != 1 {
		t.Errorf("%+v", s)
	}
}

// policies has keys that are optional and unquoted, and large bodies that pass.
func policies(t *testing.T, client *redstart.Client) {
	o := &orders{}
	e := newExecutor(t, client, idempotency.Options{
		AllowUnquoted: true, MaxRequestBytes: 4, LargeRequests: idempotency.FingerprintPrefix, Methods: []string{"PUT"},
	})
	h := e.Middleware(o)
	put := func(key, body string) request {
		q := request{method: "PUT", body: body}
		if key != "" {
			q.header = http.Header{"Idempotency-Key": {key}}
		}
		return q
	}
	for i, c := range []struct {
		q        request
		body     string
		executed int64
	}{
		{put("", "a"), "#a", 1},
		{put("", "a"), "##a", 2},
		{put("k", "a"), "###a", 3},
		{put(`"k"`, "a"), "###a", 3},
		{put("large", "1234567"), "####1234567", 4},
		{put("large", "1234567"), "####1234567", 4},
		{put("large", "1234xxx"), "####1234567", 4}, // a difference after the prefix
	} {
		if w := c.q.to(h); w.Body.String() != c.body || o.executed.Load() != c.executed {
			t.Errorf("%d: %d %q, %d executions", i, w.Code, w.Body, o.executed.Load())
		}
	}
	wantCode(t, put("large", "123x567").to(h), 422, "key-reused")
	wantCode(t, put("large", "12345678").to(h), 422, "key-reused") // another length
	if s := e.Stats(); s.WithoutKey != 2 {
		t.Errorf("%+v", s)
	}
}

// releases has executions after which the key is free.
func releases(t *testing.T, client *redstart.Client) {
	statuses := []int{503, 200}
	executed := 0
	e := newExecutor(t, client, idempotency.Options{Retryable: func(status int) bool { return status == 503 }})
	h := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		executed++
		w.WriteHeader(statuses[executed-1])
	}))
	for i, want := range []int{503, 200, 200} {
		if w := (request{key: "retryable"}).to(h); w.Code != want {
			t.Errorf("request %d: %d, want %d", i, w.Code, want)
		}
	}

	panics := true
	h = e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("part"))
		if panics {
			panic(http.ErrAbortHandler)
		}
	}))
	func() {
		defer func() {
			if cause := recover(); cause != http.ErrAbortHandler {
				t.Errorf("the panic is %v", cause)
			}
		}()
		request{key: "panics"}.to(h)
	}()
	panics = false
	if w := (request{key: "panics"}).to(h); w.Code != http.StatusOK || w.Header().Get("Idempotent-Replayed") != "" {
		t.Errorf("after the panic: %d %v", w.Code, w.Header())
	}
	if s := e.Stats(); s.Released != 2 || s.Executed != 4 || s.Replayed != 1 {
		t.Errorf("%+v", s)
	}
}

// streams has responses that are sent and not stored.
func streams(t *testing.T, client *redstart.Client) {
	e := newExecutor(t, client, idempotency.Options{MaxResponseBytes: 100, Retryable: func(status int) bool { return status == 503 }})
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		stored  bool
		body    int
	}{
		"at the limit": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 100)) }, true, 100},
		"above": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 60))
			_, _ = w.Write(make([]byte, 60))
		}, false, 120},
		"a header above": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("h", 200))
		}, false, 0},
		"flush": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("1"))
			w.(http.Flusher).Flush()
			_, _ = w.Write([]byte("2"))
		}, false, 2},
		"controller": {func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		}, false, 0},
	} {
		h := e.Middleware(c.handler)
		if w := (request{key: name}).to(h); w.Code != http.StatusOK || w.Body.Len() != c.body {
			t.Errorf("%s: %d, %d bytes", name, w.Code, w.Body.Len())
		}
		w := request{key: name}.to(h)
		if c.stored && w.Code != http.StatusOK {
			t.Errorf("%s: %d, want a replay", name, w.Code)
		}
		if !c.stored {
			wantCode(t, w, http.StatusConflict, "not-repeatable")
			if w.Header().Get("Retry-After") != "" {
				t.Errorf("%s: a wait does not help: %v", name, w.Header())
			}
		}
	}

	retryable := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.(http.Flusher).Flush()
	}))
	for range 2 {
		if w := (request{key: "retryable"}).to(retryable); w.Code != http.StatusServiceUnavailable {
			t.Errorf("a retryable stream: %d %s", w.Code, w.Body)
		}
	}
}

// expires has results and leases on the server, each with a TTL (A4).
func expires(t *testing.T, client *redstart.Client) {
	b := newBlocking()
	e := newExecutor(t, client, idempotency.Options{Lease: time.Minute, Retention: time.Hour})
	redis := rigclient.Redis(t, client)
	ttl := func() time.Duration {
		ms, err := redis.Do(t.Context(), redis.B().Pttl().Key(e.KeyOnServer("", "k")).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	first := inBackground(e.Middleware(b), request{key: "k"})
	<-b.began
	if got := ttl(); got <= 0 || got > time.Minute {
		t.Errorf("the lease expires in %v", got)
	}
	b.end <- func(http.ResponseWriter, *http.Request) {}
	<-first
	if got := ttl(); got <= time.Minute || got > time.Hour {
		t.Errorf("the result expires in %v", got)
	}
}

// Trailers of a handler reach the client of the first request, announced or with the prefix of
// net/http. They are not part of the stored result.
func TestTrailers(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, open(t, rig.Embedded(t).URL(), "app"), idempotency.Options{})
	server := httptest.NewServer(e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = w.Write([]byte("body"))
		w.Header().Set("X-Sum", "4")
		w.Header().Set(http.TrailerPrefix+"X-Late", "1")
		w.Header().Set("X-Ignored", "1")
	})))
	t.Cleanup(server.Close)
	for i, want := range []http.Header{{"X-Sum": {"4"}, "X-Late": {"1"}}, nil} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", `"k"`)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(body) != "body" || res.Header.Get("X-Ignored") != "" ||
			!maps.EqualFunc(res.Trailer, want, slices.Equal[[]string]) {
			t.Errorf("answer %d: %q %v, trailer %v, want %v; %v", i, body, res.Header, res.Trailer, want, err)
		}
	}
}
