package session_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

var _ scs.CtxStore = (*session.Store)(nil)

// TestSCSOnStore runs the middleware of scs on the Store, over HTTP with a cookie jar.
func TestSCSOnStore(t *testing.T) {
	t.Parallel()
	store, err := session.NewStore(open(t, rig.Shared(t).URL()), "scs", session.StoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m := newSCS(store)
	m.IdleTimeout = time.Minute
	failed := make(chan error, 10)
	m.ErrorFunc = func(w http.ResponseWriter, _ *http.Request, err error) {
		failed <- err
		w.WriteHeader(http.StatusInternalServerError)
	}
	held, reached := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/put", func(w http.ResponseWriter, r *http.Request) { m.Put(r.Context(), "word", "hello") })
	mux.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, m.GetString(r.Context(), "word")) })
	mux.HandleFunc("/renew", func(w http.ResponseWriter, r *http.Request) {
		if err := m.RenewToken(r.Context()); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/logout", func(w http.ResponseWriter, r *http.Request) {
		if err := m.Destroy(r.Context()); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-held
		m.Put(r.Context(), "word", "back from the dead")
	})
	server := httptest.NewServer(m.LoadAndSave(mux))
	defer server.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := server.Client()
	client.Jar = jar
	get := func(path string) (string, int) {
		response, err := client.Get(server.URL + path)
		if err != nil {
			t.Error(err)
			return "", 0
		}
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		return string(b), response.StatusCode
	}
	get("/put")
	if word, _ := get("/get"); word != "hello" {
		t.Fatalf("%q", word)
	}
	get("/renew")
	if word, _ := get("/get"); word != "hello" {
		t.Fatalf("after the renewal: %q", word)
	}
	before := jar.Cookies(must(http.NewRequest("GET", server.URL, nil)).URL)
	// The user logs out during a request. With other stores, the save of the request restores the
	// session.
	slow := make(chan int)
	go func() {
		_, code := get("/slow")
		slow <- code
	}()
	<-reached
	get("/logout")
	close(held)
	if code := <-slow; code != http.StatusInternalServerError {
		t.Errorf("the late save got %d", code)
	}
	select {
	case err := <-failed:
		t.Log("the error of scs:", err)
	default:
		t.Error("scs got no error")
	}
	r := must(http.NewRequest("GET", server.URL+"/get", nil))
	for _, c := range before {
		r.AddCookie(c)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(response.Body)
	response.Body.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if len(b) != 0 {
		t.Errorf("the session was restored: %q", b)
	}
}

func must(r *http.Request, err error) *http.Request {
	if err != nil {
		panic(err)
	}
	return r
}
