package session_test

import (
	"context"
	"errors"
	"fmt"
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

// An outer middleware recovers and responds. The login has happened, so the response has its
// cookie.
func TestS7_APanicKeepsTheCookie(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("Middleware contained the panic")
			}
			w.WriteHeader(http.StatusInternalServerError)
		}()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ok(t, m.FromContext(r.Context()).Login(r.Context(), "ada"))
			panic("after the login")
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}()
	if set := w.Result().Cookies(); len(set) != 1 {
		t.Errorf("cookies %v", set)
	}
}

// A response that starts while a login is in flight, for example by http.TimeoutHandler, has the
// cookie of the login.
func TestS7_TheResponseWaitsForALogin(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	for name, call := range map[string]func(ctx context.Context, s *sess) error{
		"login": func(ctx context.Context, s *sess) error { return s.Login(ctx, "ada") },
		"update": func(ctx context.Context, s *sess) error {
			return s.Update(ctx, func(c *cart) error { c.N++; return nil })
		},
	} {
		written := make(chan struct{})
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			rig.ArmOnce(t, session.Points(m), "write", "", func() {
				go func() {
					defer close(written)
					w.WriteHeader(http.StatusServiceUnavailable)
				}()
				select {
				case <-written:
					t.Errorf("%s: the header was sent during the call", name)
				case <-time.After(20 * time.Millisecond):
				}
			})
			if err := call(r.Context(), s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			<-written
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if set := w.Result().Cookies(); len(set) != 1 || w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d, cookies %v", name, w.Code, set)
		}
	}
}

// A flush that the server does not support sends nothing, so a later login is in time.
func TestS7_AFlushThatIsNotSupportedSendsNothing(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("flush: %v", err)
		}
		ok(t, m.FromContext(r.Context()).Login(r.Context(), "ada"))
	})).ServeHTTP(plain{w}, httptest.NewRequest("GET", "/", nil))
	if set := w.Result().Cookies(); len(set) != 1 {
		t.Errorf("cookies %v", set)
	}
}

// Vary names Cookie, no matter how the handler sets the header.
func TestS7_VaryKeepsCookie(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	for name, handler := range map[string]http.HandlerFunc{
		"nothing":       func(w http.ResponseWriter, r *http.Request) {},
		"set":           func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Vary", "Accept"); w.WriteHeader(200) },
		"set, no write": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Vary", "Accept") },
		"added":         func(w http.ResponseWriter, r *http.Request) { w.Header().Add("Vary", "Accept") },
		"deleted":       func(w http.ResponseWriter, r *http.Request) { w.Header().Del("Vary"); _, _ = w.Write([]byte("x")) },
		"named already": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Vary", "accept, cookie") },
	} {
		vary := strings.ToLower(strings.Join(serve(m, nil, handler).Header["Vary"], ", "))
		if strings.Count(vary, "cookie") != 1 || (name != "nothing" && name != "deleted") != strings.Contains(vary, "accept") {
			t.Errorf("%s: Vary is %q", name, vary)
		}
	}
}

// The handshake of a WebSocket with only a remember-me cookie succeeds, because the cookies of the
// recall can be lost.
func TestS7_RecallOnAHandshake(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{Cookie: session.CookieOptions{Insecure: true}})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}, session.Remember()))
	server := httptest.NewServer(m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := m.FromContext(r.Context()).User(); user != "ada" {
			t.Errorf("the user is %q", user)
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\n")
		_ = rw.Flush()
	})))
	defer server.Close()
	r := must[*http.Request](t)(http.NewRequest("GET", server.URL, nil))
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "test")
	r.AddCookie(m.RememberCookie(s))
	response := must[*http.Response](t)(server.Client().Do(r))
	response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("the handshake has status %d", response.StatusCode)
	}
	if _, err := m.Recall(t.Context(), s.RememberToken()); err != nil {
		t.Errorf("the browser got no other remember-me token, but its token is invalid: %v", err)
	}
}

// The cookie of an ended session deletes the cookie of the browser.
func TestCookieOfAnEndedSession(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{Cookie: session.CookieOptions{Persistent: true}})
	ctx := t.Context()
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
	ok(t, m.Revoke(ctx, "ada", s.ID()))
	if err := s.Update(ctx, func(c *cart) error { c.N++; return nil }); !errors.Is(err, session.ErrNotFound) {
		t.Fatal(err)
	}
	if c := m.Cookie(s); c.Value != "" || c.MaxAge != -1 {
		t.Errorf("the cookie of an ended session: %v", c)
	}
}

// The clock of this process can be wrong by hours. Max-Age follows the clock of the server.
func TestMaxAgeFollowsTheClockOfTheServer(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		session.Options{Lifetime: 10 * time.Hour, Cookie: session.CookieOptions{Persistent: true}})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	session.SetSkew(m, (4 * time.Hour).Milliseconds())
	if age := m.Cookie(s).MaxAge; age > 6*3600 || age < 6*3600-60 {
		t.Errorf("6 h are left on the server, Max-Age is %v", time.Duration(age)*time.Second)
	}
}

// Printing a Manager shows no key, and the caller may overwrite its own copies of the keys.
func TestS6_AManagerHidesItsKeys(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	secret, userKey := key("k"), key("u")
	m := manager(t, open(t, url, namespace), session.Options{EncryptionKeys: [][]byte{secret}, UserKey: userKey})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(verb, m)
		for _, form := range []string{"kkkk", "uuuu", "107 107", "117 117", "0x6b, 0x6b", "0x75, 0x75", "6b6b"} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows a key: %s", verb, text)
			}
		}
	}
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	clear(secret)
	clear(userKey)
	must[*sess](t)(m.Load(t.Context(), s.Token()))
	if list := must[[]session.Info](t)(m.List(t.Context(), "ada")); len(list) != 1 {
		t.Errorf("after the caller cleared its keys: %v", list)
	}
}

// The server applied the first Renew, but its reply was lost. The second Renew sends the token of
// the first.
func TestARetriedRenewSendsItsToken(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	client := rigclient.Open(t, proxy.URL(), "t", rigclient.Within(500*time.Millisecond))
	m := manager(t, client, session.Options{})
	there := manager(t, open(t, server.URL(), "t"), session.Options{})
	first := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	ok(t, first.Renew(t.Context())) // the server has cached the script
	before := first.Token()

	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(m.Cookie(first))
	w := httptest.NewRecorder()
	m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.FromContext(r.Context())
		rig.ArmOnce(t, session.Points(m), "write", "", proxy.StallReplies)
		if err := s.Renew(r.Context()); !errors.Is(err, redstart.ErrIndeterminate) {
			t.Errorf("without a reply: %v", err)
		}
		proxy.Resume()
		rig.Eventually(t, 10*time.Second, "the client is back", func() bool { return client.Ping(r.Context()) == nil })
		ok(t, s.Renew(r.Context()))
		if s.Token() == before {
			t.Error("the retried Renew changed nothing")
		}
		must[*sess](t)(there.Load(r.Context(), s.Token()))
	})).ServeHTTP(w, r)
	if set := w.Result().Cookies(); len(set) != 1 || set[0].Value == before {
		t.Errorf("cookies %v", set)
	}
}

// The context of Watch ends with the Lifetime, even if the server does not answer.
func TestS2_AWatchEndsWithTheLifetime(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Namespace: "t",
		CommandTimeout: 300 * time.Millisecond})
	ok(t, err)
	t.Cleanup(func() { server.Continue(); ok(t, client.Close()) })
	m := manager(t, client, session.Options{})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}, session.Lifetime(time.Second)))
	watched, cancel, err := s.Watch(t.Context())
	ok(t, err)
	defer cancel()
	server.Stop()
	select {
	case <-watched.Done():
		if !errors.Is(context.Cause(watched), session.ErrEnded) {
			t.Errorf("it ended with %v", context.Cause(watched))
		}
	case <-time.After(20 * time.Second):
		t.Error("the server does not answer, and the watch did not end with the Lifetime")
	}
}
