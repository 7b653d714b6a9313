package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/session"
)

// The server is stopped, partitioned and emptied during requests with a session.
func TestS8_AnOutageIsNotALogout(t *testing.T) {
	t.Parallel()
	faults := map[string]struct {
		begin, end func(s *rig.Server, p *rig.Proxy)
	}{
		"stopped": {func(s *rig.Server, _ *rig.Proxy) { s.Stop() }, func(s *rig.Server, _ *rig.Proxy) { s.Continue() }},
		"refused": {func(_ *rig.Server, p *rig.Proxy) { p.Refuse(); p.Reset() },
			func(_ *rig.Server, p *rig.Proxy) { _ = p.Accept() }},
		"stalled": {func(_ *rig.Server, p *rig.Proxy) { p.Stall() }, func(_ *rig.Server, p *rig.Proxy) { p.Resume() }},
		"loading or a replica": {func(s *rig.Server, _ *rig.Proxy) {
			s.CLI("CONFIG", "SET", "replica-serve-stale-data", "no")
			s.CLI("REPLICAOF", "127.0.0.1", "1") // MASTERDOWN for reads, READONLY for writes
		}, func(s *rig.Server, _ *rig.Proxy) { s.CLI("REPLICAOF", "NO", "ONE") }},
		"denied": {func(s *rig.Server, _ *rig.Proxy) { s.CLI("ACL", "SETUSER", "default", "-get", "-evalsha", "-eval") },
			func(s *rig.Server, _ *rig.Proxy) { s.CLI("ACL", "SETUSER", "default", "+@all") }},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.Standalone(t)
			proxy := rig.NewProxy(t, server.Addr())
			client := rigclient.Open(t, proxy.URL(), "t", rigclient.Within(200*time.Millisecond))
			strict := manager(t, client, session.Options{})
			soft := manager(t, client, session.Options{Outage: session.AnonymousReadOnly})
			s := must[*sess](t)(strict.Create(t.Context(), "ada", cart{N: 1}))
			request := func(m *mgr, handler http.HandlerFunc) *http.Response {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Cookie", "__Host-session="+s.Token())
				w := httptest.NewRecorder()
				m.Middleware(handler).ServeHTTP(w, r)
				return w.Result()
			}
			fault.begin(server, proxy)
			for range 3 {
				watch := rig.Watch(t)
				response := request(strict, func(w http.ResponseWriter, r *http.Request) { t.Error("the handler ran") })
				if response.StatusCode != http.StatusServiceUnavailable ||
					response.Header.Get("Retry-After") == "" || response.Header["Set-Cookie"] != nil {
					t.Errorf("%d %v", response.StatusCode, response.Header)
				}
				if took := watch.Took(); took > time.Second {
					t.Errorf("the 503 took %v", took)
				}
			}
			if _, err := strict.Load(t.Context(), s.Token()); err == nil || errors.Is(err, session.ErrNotFound) {
				t.Errorf("Load: %v", err)
			} else if !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, redstart.ErrDenied) {
				t.Errorf("Load: no class: %v", err)
			}
			ran := false
			response := request(soft, func(w http.ResponseWriter, r *http.Request) {
				ran = true
				ctx, s := r.Context(), soft.FromContext(r.Context())
				data, err := s.Data(ctx)
				if err != nil || data.N != 0 || s.User() != "" || !s.Degraded() {
					t.Errorf("%+v of %q, degraded %v, %v", data, s.User(), s.Degraded(), err)
				}
				_, _, watchErr := s.Watch(ctx)
				_, othersErr := s.RevokeOthers(ctx)
				for verb, err := range map[string]error{"update": s.Update(ctx,
					func(c *cart) error { c.N++; return nil }), "login": s.Login(ctx, "ada"),
					"renew": s.Renew(ctx), "destroy": s.Destroy(ctx), "flash": s.Flash(ctx, "", "x"),
					"watch": watchErr, "others": othersErr} {
					if !errors.Is(err, redstart.ErrUnavailable) {
						t.Errorf("%s: %v", verb, err)
					}
				}
			})
			if !ran || response.StatusCode != http.StatusOK || response.Header["Set-Cookie"] != nil {
				t.Errorf("read-only: ran %v, %d %v", ran, response.StatusCode, response.Header)
			}
			// A request without a cookie needs no server.
			w := httptest.NewRecorder()
			strict.Middleware(http.HandlerFunc(func(w http.ResponseWriter,
				r *http.Request) {
				w.WriteHeader(http.StatusTeapot)
			})).ServeHTTP(w,
				httptest.NewRequest("GET", "/", nil))
			if w.Code != http.StatusTeapot {
				t.Errorf("a visitor got %d", w.Code)
			}
			fault.end(server, proxy)
			rig.Eventually(t, 10*time.Second, "the session is back", func() bool {
				return request(strict, func(w http.ResponseWriter, r *http.Request) {
					if s := strict.FromContext(r.Context()); s.User() != "ada" {
						t.Errorf("after the outage the user is %q", s.User())
					}
				}).StatusCode == http.StatusOK
			})
			ok(t, must[*sess](t)(strict.Load(t.Context(), s.Token())).Update(t.Context(),
				func(c *cart) error { c.N++; return nil }))
		})
	}
}

// OnOutage writes the response of the application. Static files need no session.
func TestS8_ApplicationPageInAnOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := rigclient.Open(t, server.URL(), "t", rigclient.Within(200*time.Millisecond))
	var seen error
	m := manager(t, client, session.Options{
		OnOutage: func(w http.ResponseWriter, r *http.Request, err error) {
			seen = err
			w.WriteHeader(http.StatusBadGateway)
		},
		Skip: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/static/") },
	})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	server.Stop()
	defer server.Continue()
	for path, want := range map[string]int{"/": http.StatusBadGateway, "/static/x.css": http.StatusOK} {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Cookie", "__Host-session="+s.Token())
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := m.FromContext(r.Context()).Data(r.Context()); !errors.Is(err, session.ErrNoMiddleware) {
				t.Errorf("a skipped request has a session: %v", err)
			}
		})).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if !errors.Is(seen, redstart.ErrUnavailable) {
		t.Errorf("%v", seen)
	}
}

// An empty server is a logout: FLUSHALL, or a failover to an empty replica. It has lost its scripts
// too.
func TestS8_AnEmptiedServer(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	ctx := t.Context()
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
	server.CLI("SCRIPT", "FLUSH")
	ok(t, s.Update(ctx, func(c *cart) error { c.N++; return nil }))
	server.CLI("FLUSHALL")
	server.CLI("SCRIPT", "FLUSH")
	if err := s.Update(ctx, func(c *cart) error { c.N++; return nil }); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("an update after FLUSHALL: %v", err)
	}
	if _, err := m.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a load after FLUSHALL: %v", err)
	}
	if err := s.Login(ctx, "ada"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a login on the deleted session: %v", err)
	}
	if n := server.CLI("DBSIZE"); n != "0" {
		t.Errorf("%s keys", n)
	}
	must[*sess](t)(m.Create(ctx, "ada", cart{}))
}

// Without memory, no user can log in. Logout and reads work, and sessions in use do not expire.
func TestS8_OutOfMemory(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	ctx := t.Context()
	s := must[*sess](t)(m.Create(ctx, "ada", cart{N: 1}, session.Remember()))
	other := must[*sess](t)(m.Create(ctx, "ada", cart{N: 1}))
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	if _, err := m.Create(ctx, "eve", cart{}); !errors.Is(err, redstart.ErrFull) {
		t.Errorf("create: %v", err)
	}
	if err := s.Update(ctx, func(c *cart) error { c.N++; return nil }); !errors.Is(err, redstart.ErrFull) {
		t.Errorf("update: %v", err)
	}
	if err := s.Login(ctx, "eve"); !errors.Is(err, redstart.ErrFull) {
		t.Errorf("login: %v", err)
	}
	server.CLI("PEXPIRE", session.Key(m, other.Token()), "100000")
	session.SetSkew(m, int64(time.Hour/time.Millisecond))
	must[*sess](t)(m.Load(ctx, other.Token())) // sends a touch
	if ttl := server.CLI("PTTL", session.Key(m, other.Token())); len(ttl) < 7 {
		t.Errorf("out of memory, a session in use ends in %s ms", ttl)
	}
	place := session.Key(m, s.Token())
	ok(t, s.Destroy(ctx))
	server.CLI("DEL", place) // deletes the mark for late requests
	if n := must[int](t)(m.RevokeUser(ctx, "ada")); n != 1 {
		t.Errorf("%d revoked", n)
	}
	if n := server.CLI("DBSIZE"); n != "0" {
		t.Errorf("%s keys are left", n)
	}
}
