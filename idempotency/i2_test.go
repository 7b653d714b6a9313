package idempotency_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// watchedWriter reads the status in the record when the first byte of a response is sent.
type watchedWriter struct {
	*httptest.ResponseRecorder
	status   func() string
	recorded []string
}

func (w *watchedWriter) WriteHeader(status int) {
	w.recorded = append(w.recorded, w.status())
	w.ResponseRecorder.WriteHeader(status)
}

// When the header is sent, the record has the status: of the result, or 0 for a response that is
// not repeatable.
func TestI2_TheResultIsRecordedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	e := newExecutor(t, client, idempotency.Options{MaxResponseBytes: 10})
	redis := rigclient.Redis(t, client)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"result": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }, "201"},
		"flush":  {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() }, "0"},
		"large":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 11)) }, "0"},
	} {
		w := &watchedWriter{ResponseRecorder: httptest.NewRecorder(), status: func() string {
			status, err := redis.Do(t.Context(), redis.B().Hget().Key(e.KeyOnServer("", name)).Field("status").Build()).ToString()
			if err != nil {
				return err.Error()
			}
			return status
		}}
		e.Middleware(c.handler).ServeHTTP(w, request{key: name}.build())
		if len(w.recorded) != 1 || w.recorded[0] != c.want {
			t.Errorf("%s: the record had the status %q when the header was sent, want %s", name, w.recorded, c.want)
		}
	}
}

// A client disconnects while the handler runs, and repeats the request. It gets the result of the
// first execution.
func TestI2_ALostAnswerIsReplayed(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		executed := 0
		began, ended := make(chan struct{}, 2), make(chan struct{})
		h := newExecutor(t, client, idempotency.Options{}).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			executed++
			began <- struct{}{}
			<-ended
			w.Header().Set("Location", "/orders/"+strconv.Itoa(executed))
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "the order")
		}))
		done := make(chan struct{}, 2)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			done <- struct{}{}
		}))
		t.Cleanup(server.Close)
		send := func(ctx context.Context) (*http.Response, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/orders", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Idempotency-Key", `"k"`)
			return server.Client().Do(r)
		}

		ctx, disconnect := context.WithCancel(t.Context())
		lost := make(chan error, 1)
		go func() {
			_, err := send(ctx)
			lost <- err
		}()
		<-began
		disconnect()
		if err := <-lost; err == nil {
			t.Fatal("the first answer arrived")
		}
		close(ended)
		<-done

		answer, err := send(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusCreated || string(body) != "the order" ||
			answer.Header.Get("Location") != "/orders/1" || answer.Header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%d %v %q, %v", answer.StatusCode, answer.Header, body, err)
		}
	})
}

// The server executes the store, and its reply is lost. The response is sent, and the result is
// replayed. Without a second call, the executor would count a result that is not stored.
func TestI2_ALostReplyOfTheStore(t *testing.T) {
	t.Parallel()
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	client := open(t, proxy.URL(), rig.Prefix(t), rigclient.Within(500*time.Millisecond))
	e := newExecutor(t, client, idempotency.Options{})
	b := newBlocking()
	h := e.Middleware(b)
	first := inBackground(h, request{key: "k"})
	<-b.began
	proxy.StallReplies()
	b.end <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }
	if w := <-first; w.Code != http.StatusCreated {
		t.Errorf("the first answer: %d", w.Code)
	}
	proxy.Cut()
	proxy.Resume()
	rig.Eventually(t, 20*time.Second, "the result is replayed", func() bool { return request{key: "k"}.to(h).Code == http.StatusCreated })
	rig.Eventually(t, 20*time.Second, "nothing is stored in the background", func() bool { return e.Pending() == 0 })
	if s := e.Stats(); s.Executed != 1 || s.Unstored != 0 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

// Redis does not answer when the handler returns. The response is sent within the command timeout,
// and the result is stored as soon as Redis answers. The number of such results is bounded.
func TestI2_AResultIsStoredInTheBackground(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	const timeout = 300 * time.Millisecond
	client := open(t, server.URL(), "app", rigclient.Within(timeout))
	e := newExecutor(t, client, idempotency.Options{})
	const requests = idempotency.MaxPending + 10
	began, end := make(chan struct{}, requests), make(chan struct{})
	h := e.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-end
		w.WriteHeader(http.StatusCreated)
	}))
	var answers []<-chan *httptest.ResponseRecorder
	for i := range requests {
		answers = append(answers, inBackground(h, request{key: strconv.Itoa(i)}))
	}
	for range requests {
		<-began
	}

	server.Stop()
	watch := rig.Watch(t)
	close(end)
	for _, answer := range answers {
		if w := <-answer; w.Code != http.StatusCreated {
			t.Errorf("%d", w.Code)
		}
	}
	if took := watch.Took(); took > 2*timeout+time.Second {
		t.Errorf("the answers took %v with a command timeout of %v", took, timeout)
	}
	if n := e.Pending(); n != idempotency.MaxPending {
		t.Errorf("%d results wait, want %d", n, idempotency.MaxPending)
	}
	server.Continue()
	rig.Eventually(t, 20*time.Second, "the results are stored", func() bool { return e.Pending() == 0 })
	if s := e.Stats(); s.Unstored != requests-idempotency.MaxPending || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

// A full server stores the results of executions that have begun, and refuses new ones.
func TestI2_AFullServerStoresTheResult(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app")
	e := newExecutor(t, client, idempotency.Options{})
	b := newBlocking()
	h := e.Middleware(b)
	first := inBackground(h, request{key: "k"})
	<-b.began
	server.CLI("CONFIG", "SET", "maxmemory-policy", "noeviction")
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	wantCode(t, request{key: "new"}.to(h), http.StatusServiceUnavailable, "unavailable")
	b.end <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }
	<-first
	if w := (request{key: "k"}).to(h); w.Code != http.StatusCreated || e.Stats().Unstored != 0 {
		t.Errorf("the repeated request: %d, %+v", w.Code, e.Stats())
	}
	if n := server.CLI("DBSIZE"); n != "1" {
		t.Errorf("%s keys", n)
	}
}

// What a stored response has, and what not.
func TestI2_TheStoredHeader(t *testing.T) {
	t.Parallel()
	before := http.Header{"X-Request-Id": {"1"}, "Vary": {"Cookie"}, "X-Frame-Options": {"DENY"}}
	after := before.Clone()
	after["Vary"] = append(after["Vary"], "Accept")
	for name, value := range map[string]string{
		"Location": "/orders/1", "Etag": `"a"`, "Set-Cookie": "session=secret", "Date": "now", "Connection": "close, x-hop",
		"X-Hop": "1", "Keep-Alive": "timeout=5", "Transfer-Encoding": "chunked", "Trailer": "X-Sum", "X-Sum": "1",
		"Trailer:X-Late": "1", "Upgrade": "h2c", "Content-Length": "3", "Content-Type": "text/plain", "X-Split": "a\r\nb",
	} {
		after.Set(name, value)
		if name == "Trailer:X-Late" {
			after[name] = []string{value}
		}
	}
	code, header, body := idempotency.Encode(201, before, after, "abc")
	status, err := strconv.Atoi(code)
	if err != nil {
		t.Fatal(err)
	}
	w, err := idempotency.Decode(status, header, body)
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{"Location": {"/orders/1"}, "Etag": {`"a"`}, "Vary": {"Cookie", "Accept"}, "Content-Type": {"text/plain"},
		"X-Split": {"a  b"}, "Content-Length": {"3"}, "Idempotent-Replayed": {"true"}}
	for name, values := range w.Header() {
		if strings.Join(values, "|") != strings.Join(want[name], "|") {
			t.Errorf("replayed %s: %q, want %q", name, values, want[name])
		}
	}
	for name := range want {
		if w.Header()[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if w.Code != 201 || w.Body.String() != "abc" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	for _, c := range []struct {
		status int
		header string
	}{{0, ""}, {99, ""}, {200, "no colon\r\n"}} {
		if _, err := idempotency.Decode(c.status, c.header, ""); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
