package session_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

func ended(t testing.TB, ctx context.Context, what string) {
	t.Helper()
	select {
	case <-ctx.Done():
		if cause := context.Cause(ctx); !errors.Is(cause, session.ErrEnded) {
			t.Errorf("%s: cause %v", what, cause)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("%s: the context did not end", what)
	}
}

// The context of Watch ends with each kind of end, and not with the end of another session.
func TestS1_WatchersNoticeTheEnd(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		here := manager(t, open(t, e.URL, e.Namespace), session.Options{MaxPerUser: 3})
		there := manager(t, open(t, e.URL, e.Namespace), session.Options{MaxPerUser: 3})
		ways := map[string]func(ctx context.Context, m *mgr, s *sess) error{
			"login": func(ctx context.Context, m *mgr, s *sess) error {
				other, err := m.Load(ctx, s.Token())
				if err != nil {
					return err
				}
				return other.Login(ctx, "bob")
			},
			"login, same user": func(ctx context.Context, m *mgr, s *sess) error {
				other, err := m.Load(ctx, s.Token())
				if err != nil {
					return err
				}
				return other.Login(ctx, "ada")
			},
			"displaced": func(ctx context.Context, m *mgr, s *sess) error {
				for range 3 {
					if _, err := m.Create(ctx, "ada", cart{}); err != nil {
						return err
					}
				}
				return nil
			},
		}
		for name, end := range endings {
			ways[name] = end
		}
		stays := must[*sess](t)(here.Create(ctx, "joe", cart{}))
		lives, cancel, err := stays.Watch(ctx)
		ok(t, err)
		defer cancel()
		for way, end := range ways {
			s := must[*sess](t)(here.Create(ctx, "ada", cart{}))
			first, cancel1, err := s.Watch(ctx)
			ok(t, err)
			second, cancel2, err := s.Watch(ctx)
			ok(t, err)
			ok(t, s.Renew(ctx)) // does not end the session
			ok(t, s.Update(ctx, func(c *cart) error { c.N++; return nil }))
			if first.Err() != nil {
				t.Fatalf("%s: ended too early: %v", way, context.Cause(first))
			}
			ok(t, end(ctx, there, s))
			ended(t, first, way)
			ended(t, second, way)
			cancel1()
			cancel2()
			if _, _, err := s.Watch(ctx); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: Watch of an ended session: %v", way, err)
			}
			must[int](t)(there.RevokeUser(ctx, "ada"))
		}
		// An expiry sends no push. The watcher checks when it is due.
		s := must[*sess](t)(here.Create(ctx, "ada", cart{}, session.IdleTimeout(200*time.Millisecond)))
		watched, cancel3, err := s.Watch(ctx)
		ok(t, err)
		defer cancel3()
		ended(t, watched, "expiry")
		if lives.Err() != nil {
			t.Errorf("the watcher of another user ended: %v", context.Cause(lives))
		}
		cancel()
		if !errors.Is(context.Cause(lives), context.Canceled) {
			t.Errorf("%v", context.Cause(lives))
		}
		rig.Eventually(t, 10*time.Second, "no watcher is left", func() bool { return here.Stats().Watched == 0 })
		if _, _, err := here.FromContext(ctx).Watch(ctx); !errors.Is(err, session.ErrNoMiddleware) {
			t.Error(err)
		}
	})
}

// The end of a session while the push connection was down is noticed after the reconnection.
func TestS1_WatchersMissNothingWhileDisconnected(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	m, direct := manager(t, open(t, proxy.URL(), "t"), session.Options{}),
		manager(t, open(t, server.URL(), "t"), session.Options{})
	s := must[*sess](t)(direct.Create(t.Context(), "ada", cart{}))
	mine := must[*sess](t)(m.Load(t.Context(), s.Token()))
	watched, cancel, err := mine.Watch(t.Context())
	ok(t, err)
	defer cancel()
	proxy.Refuse()
	proxy.Reset()
	ok(t, direct.Revoke(t.Context(), "ada", s.ID()))
	if watched.Err() != nil {
		t.Error("the context ended without a connection")
	}
	ok(t, proxy.Accept())
	ended(t, watched, "revoked while disconnected")
}

// Close of the client ends its watchers, and their cause says so.
func TestWatchersEndWithTheClient(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	m := manager(t, client, session.Options{})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	watched, cancel, err := s.Watch(t.Context())
	ok(t, err)
	defer cancel()
	ok(t, client.Close())
	<-watched.Done()
	if errors.Is(context.Cause(watched), session.ErrEnded) {
		t.Error("the cause after Close of the client is ErrEnded")
	}
}

// Over HTTP, an event stream runs through the middleware, and a logout in another browser ends it.
func TestS7_AnEventStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	server := httptest.NewServer(m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		live, cancel, err := m.FromContext(r.Context()).Watch(r.Context())
		if err != nil {
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		defer cancel()
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: hello\n\n")
		w.(http.Flusher).Flush()
		<-live.Done()
		if errors.Is(context.Cause(live), session.ErrEnded) {
			fmt.Fprint(w, "event: logout\n\n")
		}
	})))
	defer server.Close()
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	r := must[*http.Request](t)(http.NewRequest("GET", server.URL, nil))
	r.AddCookie(m.Cookie(s))
	response := must[*http.Response](t)(server.Client().Do(r))
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Scan()
	if lines.Text() != "data: hello" {
		t.Fatalf("%q", lines.Text())
	}
	must[int](t)(m.RevokeUser(t.Context(), "ada"))
	last := ""
	for lines.Scan() {
		if lines.Text() != "" {
			last = lines.Text()
		}
	}
	if last != "event: logout" {
		t.Errorf("the stream ended with %q", last)
	}
	anonymous := must[*http.Response](t)(server.Client().Get(server.URL))
	anonymous.Body.Close()
	if anonymous.StatusCode != http.StatusUnauthorized {
		t.Errorf("a visitor got %d", anonymous.StatusCode)
	}
}
