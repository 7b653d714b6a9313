package session_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// A thief who has used a remember-me token loses it when the victim logs in again and revokes the
// other sessions, and also when the browser of the victim only presents its own token.
func TestS1_AStolenRememberToken(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		var mu sync.Mutex
		var reused []session.Event
		m := manager(t, open(t, e.URL, e.Namespace),
			session.Options{RenewGrace: time.Millisecond, OnEvent: func(_ context.Context, e session.Event) {
				mu.Lock()
				defer mu.Unlock()
				if e.Kind == session.EventReused {
					reused = append(reused, e)
				}
			}})
		dead := func(what string, thief *sess) {
			t.Helper()
			if _, err := m.Load(ctx, thief.Token()); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: the thief's session works: %v", what, err)
			}
			if _, err := m.Recall(ctx, thief.RememberToken()); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: the thief's token works: %v", what, err)
			}
			must[int](t)(m.RevokeUser(ctx, "ada"))
		}

		victim := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
		thief := must[*sess](t)(m.Recall(ctx, victim.RememberToken()))
		must[int](t)(victim.RevokeOthers(ctx)) // in a request that started before the theft
		dead("the victim's request revokes the others", thief)

		victim = must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
		thief = must[*sess](t)(m.Recall(ctx, victim.RememberToken()))
		again := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
		must[int](t)(again.RevokeOthers(ctx))
		must[*sess](t)(m.Recall(ctx, again.RememberToken())) // the victim's own token still works
		dead("the victim logs in and revokes the others", thief)

		mu.Lock()
		reused = nil
		mu.Unlock()
		count := m.Stats().Reused
		victim = must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
		thief = must[*sess](t)(m.Recall(ctx, victim.RememberToken()))
		rig.Eventually(t, 5*time.Second, "the thief uses the session", func() bool {
			ok(t, thief.Update(ctx, func(c *cart) error { c.N++; return nil }))
			info := must[[]session.Info](t)(m.List(ctx, "ada"))[0]
			return info.LastSeen.Sub(info.Created) > 4*time.Millisecond
		})
		if _, err := m.Recall(ctx, victim.RememberToken()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the previous token, while the thief's session is in use: %v", err)
		}
		dead("the victim's token comes back", thief)
		mu.Lock()
		defer mu.Unlock()
		if n := m.Stats().Reused - count; n != 1 || len(reused) != 1 || reused[0].User != "ada" {
			t.Errorf("%d reused, events %+v", n, reused)
		}
	})
}

// The old token works until the new token is first used, also after the grace period.
func TestALostRecallLogsNoUserOut(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{RenewGrace: session.NoGrace})
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
		old := s.RememberToken()
		var last *sess
		for range 3 { // the responses are lost
			last = must[*sess](t)(m.Recall(ctx, old))
		}
		if n := len(must[[]session.Info](t)(m.List(ctx, "ada"))); n != 1 {
			t.Errorf("%d sessions of one token", n)
		}
		next := must[*sess](t)(m.Recall(ctx, last.RememberToken()))
		if _, err := m.Recall(ctx, old); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the new token is in use, but the old one works: %v", err)
		}
		if _, err := m.Load(ctx, next.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the old token was used after the new one, but the session works: %v", err)
		}

		// A token of any age is recognized when it is used again.
		last = must[*sess](t)(m.Create(ctx, "bob", cart{}, session.Remember()))
		var tokens []string
		for range 4 {
			tokens = append(tokens, last.RememberToken())
			last = must[*sess](t)(m.Recall(ctx, last.RememberToken()))
		}
		reused := m.Stats().Reused
		if _, err := m.Recall(ctx, tokens[1]); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("an older token: %v", err)
		}
		if _, err := m.Load(ctx, last.Token()); !errors.Is(err, session.ErrNotFound) || m.Stats().Reused != reused+1 {
			t.Errorf("the second of five tokens was used again, but the session works: %v", err)
		}
	})
}

// The parallel requests of a page, to two processes, start one session within MaxPerUser, with the
// device of the request.
func TestConcurrentRecallsShareOneSession(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	opts := session.Options{MaxPerUser: 2}
	managers := []*mgr{manager(t, open(t, url, namespace), opts), manager(t, open(t, url, namespace), opts)}
	m := managers[0]
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}, session.Remember(), session.Device("old browser", "192.0.2.9")))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("User-Agent", "new browser")
			r.AddCookie(m.RememberCookie(s))
			managers[i%2].Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if user := managers[i%2].FromContext(r.Context()).User(); user != "ada" {
					t.Errorf("request %d has the user %q", i, user)
				}
			})).ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	wg.Wait()
	list := must[[]session.Info](t)(m.List(t.Context(), "ada"))
	if len(list) != 1 || list[0].UserAgent != "new browser" {
		t.Errorf("%+v", list)
	}
}

// If the application stores no devices, the middleware stores no devices.
func TestARecallStoresNoDeviceUnasked(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}, session.Remember()))
	answer := &http.Response{Header: http.Header{"Set-Cookie": {m.RememberCookie(s).String()}}}
	serve(m, answer, func(w http.ResponseWriter, r *http.Request) {
		list := must[[]session.Info](t)(m.List(r.Context(), "ada"))
		if len(list) != 1 || !list[0].Current || list[0].Address != "" || list[0].UserAgent != "" {
			t.Errorf("%+v", list)
		}
	})
}

// A late request with the cookie from before the login sets no cookie, and can still log in.
func TestALateRequestKeepsTheCookieOfTheLogin(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	for _, from := range []string{"", "ada"} {
		before := must[*sess](t)(m.Create(t.Context(), from, cart{}))
		cookie := m.Cookie(before)
		ok(t, before.Login(t.Context(), "ada"))
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(cookie)
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			if err := s.Update(r.Context(), func(c *cart) error { c.N++; return nil }); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("from %q: an update with the previous cookie: %v", from, err)
			}
			if data := must[cart](t)(s.Data(r.Context())); s.User() != "" || data.N != 0 {
				t.Errorf("from %q: a late request has the user %q and the data %+v", from, s.User(), data)
			}
		})).ServeHTTP(w, r)
		if set := w.Result().Cookies(); len(set) != 0 {
			t.Errorf("from %q: cookies %v", from, set)
		}
		ok(t, must[*sess](t)(m.Load(t.Context(), before.Token())).Destroy(t.Context()))
	}
}

// A login that fails and is undone keeps the remember-me token.
func TestALoginThatIsUndoneKeepsTheRememberToken(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{MaxPerUser: 1, BeyondMax: session.RefuseLogin})
	ctx := t.Context()
	must[*sess](t)(m.Create(ctx, "bob", cart{}))
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
	if err := s.Login(ctx, "bob"); !errors.Is(err, session.ErrTooManySessions) {
		t.Errorf("a login beyond the limit: %v", err)
	}
	must[*sess](t)(m.Load(ctx, s.Token()))
	must[*sess](t)(m.Recall(ctx, s.RememberToken()))
}
