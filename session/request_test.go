package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// The accessors report the start, the kind and the end of a session, through a recall and a
// renewal, and through the short forms of Manager.
func TestAccessorsOfASession(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		var kinds []session.EventKind
		m := manager(t, open(t, e.URL, e.Namespace),
			session.Options{OnEvent: func(_ context.Context, e session.Event) { kinds = append(kinds, e.Kind) }})
		other := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
		answer := serve(m, nil, func(w http.ResponseWriter, r *http.Request) {
			ctx, s := r.Context(), m.FromContext(r.Context())
			if !s.CreatedAt().IsZero() || !s.ExpiresAt().IsZero() || !s.AuthenticatedAt().IsZero() || s.Recalled() {
				t.Error("a visitor has the accessors of a session")
			}
			ok(t, m.Update(ctx, func(c *cart) error { c.N = 1; return nil }))
			if s.CreatedAt().IsZero() || !s.AuthenticatedAt().IsZero() {
				t.Error("an anonymous session has a creation time and is not authenticated")
			}
			ok(t, m.LoginWith(ctx, "ada", func(c *cart) error { c.N++; return nil }, session.Remember(), session.Persistent()))
			if data := must[cart](t)(m.Data(ctx)); data.N != 2 {
				t.Errorf("%+v", data)
			}
			if left := s.ExpiresAt().Sub(s.CreatedAt()); left < time.Hour || left > 62*time.Minute {
				t.Errorf("it ends %v after its creation", left)
			}
			if d := s.AuthenticatedAt().Sub(s.CreatedAt()).Abs(); d > time.Minute {
				t.Errorf("it was authenticated %v after its creation", d)
			}
			for _, info := range must[[]session.Info](t)(m.List(ctx, "ada")) {
				if info.Current != (info.ID == s.ID()) || info.Current == (info.ID == other.ID()) || info.User != "ada" {
					t.Errorf("%+v", info)
				}
			}
		})
		cookies := answer.Cookies()
		if len(cookies) != 2 || cookies[0].MaxAge <= 0 {
			t.Fatalf("a persistent login: %v", cookies)
		}
		login := must[*sess](t)(m.Load(t.Context(), cookies[0].Value))
		recalled := must[*sess](t)(m.Recall(t.Context(), cookies[1].Value))
		ok(t, recalled.Renew(t.Context()))
		again := must[*sess](t)(m.Load(t.Context(), recalled.Token()))
		if !again.Recalled() || !again.AuthenticatedAt().Equal(login.AuthenticatedAt()) ||
			!again.CreatedAt().After(login.CreatedAt()) {
			t.Errorf("recalled %v, authenticated at %v and %v", again.Recalled(), again.AuthenticatedAt(),
				login.AuthenticatedAt())
		}
		cookie := &http.Response{Header: http.Header{"Set-Cookie": {m.Cookie(again).String()}}}
		serve(m, cookie, func(w http.ResponseWriter, r *http.Request) { ok(t, m.Destroy(r.Context())) })
		serve(m, cookie, func(w http.ResponseWriter, r *http.Request) { // the session has ended
			ok(t, m.Login(r.Context(), "ada"))
			if user := m.FromContext(r.Context()).User(); user != "ada" {
				t.Errorf("the user is %q", user)
			}
		})
		want := []session.EventKind{session.EventCreated, session.EventCreated, session.EventLoggedIn,
			session.EventRecalled, session.EventRenewed, session.EventRevoked,
			session.EventUnknown, session.EventLoggedIn}
		if !slices.Equal(kinds, want) {
			t.Errorf("events %v, want %v", kinds, want)
		}
	})
}

// A panic in OnEvent is contained. The operation that it reports has happened.
func TestAPanicInOnEventIsContained(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)),
		session.Options{OnEvent: func(context.Context, session.Event) { panic("mine") }})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	ok(t, s.Login(t.Context(), "ada"))
	ok(t, s.Renew(t.Context()))
	ok(t, s.Destroy(t.Context()))
}

// Count and All scan the sessions of all users of one manager, and of no other manager.
func TestCountAndAll(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		m := manager(t, client, session.Options{EncryptionKeys: [][]byte{key("k")}})
		odd := must[*mgr](t)(session.New[cart](client, "w*b[", session.Options{}))
		must[*sess](t)(odd.Create(ctx, "eve", cart{}))
		want := []string{}
		for _, user := range []string{"ada", "ada", "bob", "joe"} {
			want = append(want, must[*sess](t)(m.Create(ctx, user, cart{}, session.Remember())).ID())
		}
		must[*sess](t)(m.Create(ctx, "", cart{}))
		if _, err := m.Count(ctx); errors.Is(err, redstart.ErrDenied) && strings.Contains(err.Error(), "+scan") {
			return // the ACL user of this server may not scan, and the error names the rule
		}
		if c := must[session.Counts](t)(m.Count(ctx)); c != (session.Counts{Users: 3, Sessions: 4, Remembered: 4, Anonymous: 1}) {
			t.Errorf("%+v", c)
		}
		if c := must[session.Counts](t)(odd.Count(ctx)); c != (session.Counts{Users: 1, Sessions: 1}) {
			t.Errorf("%+v", c)
		}
		got := []string{}
		for info, err := range m.All(ctx) {
			ok(t, err)
			got = append(got, info.ID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for _, err := range m.All(ctx) {
			ok(t, err)
			break // ends the scan
		}
		stopped, cancel := context.WithCancel(ctx)
		cancel()
		for info, err := range m.All(stopped) {
			if info != (session.Info{}) || !errors.Is(err, redstart.ErrUnavailable) && !errors.Is(err, context.Canceled) {
				t.Errorf("after an error: %+v, %v", info, err)
			}
		}
	})
}

// A key rotation first adds the new key for reading, then for writing. In no step is a user logged
// out. A process that lacks the key responds with 503 and writes nothing.
func TestS6_RotationInTwoSteps(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	with := func(keys ...string) *mgr {
		opts := session.Options{}
		for _, k := range keys {
			opts.EncryptionKeys = append(opts.EncryptionKeys, key(k))
		}
		return manager(t, open(t, server.URL(), "t"), opts)
	}
	old, reads, writes, fresh := with("1"), with("1", "2"), with("2", "1"), with("2")
	visit := func(m *mgr, s *sess) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: s.Token()})
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user := m.FromContext(r.Context()).User(); user != "ada" {
				t.Errorf("the user is %q", user)
			}
		})).ServeHTTP(w, r)
		return w.Code
	}
	s := must[*sess](t)(old.Create(ctx, "ada", cart{}, session.Remember()))
	for _, pair := range [][2]*mgr{{old, reads}, {reads, writes}} { // the releases that run at the same time
		for _, m := range pair {
			made := must[*sess](t)(m.Create(ctx, "ada", cart{}))
			for _, reader := range pair {
				if code := visit(reader, made); code != http.StatusOK {
					t.Errorf("status during the rotation: %d", code)
				}
			}
		}
	}

	// A touch and a recall encrypt with the new key. Then the old key can be removed.
	session.SetSkew(writes, int64(2*time.Minute/time.Millisecond))
	if code := visit(writes, s); code != http.StatusOK {
		t.Errorf("%d", code)
	}
	if code := visit(fresh, s); code != http.StatusOK {
		t.Errorf("after the encryption with the new key: status %d", code)
	}
	place := session.Key(old, s.Token())
	before := server.CLI("GET", place)
	if code := visit(old, s); code != http.StatusServiceUnavailable {
		t.Errorf("a process without the key: %d", code)
	}
	if _, err := old.Load(ctx, s.Token()); !errors.Is(err, session.ErrUnreadable) ||
		errors.Is(err, session.ErrNotFound) || !errors.Is(err, redstart.ErrCorrupt) {
		t.Errorf("a process without the key: %v", err)
	}
	if server.CLI("GET", place) != before {
		t.Error("a process without the key wrote the session")
	}
	if _, err := fresh.Recall(ctx, s.RememberToken()); !errors.Is(err, session.ErrUnreadable) {
		t.Errorf("a remember-me token under an unknown key: %v", err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(old.RememberCookie(s))
	w := httptest.NewRecorder()
	fresh.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := fresh.Update(r.Context(), func(c *cart) error { c.N++; return nil }); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("an anonymous session replaces the token: %v", err)
		}
		ok(t, fresh.Login(r.Context(), "bob")) // users without the old key can log in
	})).ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("a remember-me token under an unknown key: %d", w.Code)
	}
	recalled := must[*sess](t)(writes.Recall(ctx, s.RememberToken()))
	must[*sess](t)(fresh.Recall(ctx, recalled.RememberToken()))
	if !strings.Contains(before, "2L") {
		t.Error("no record was read")
	}
}
