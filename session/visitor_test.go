package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// serve sends one request through the middleware, with the cookies of an earlier response.
func serve(m *mgr, before *http.Response, handler http.HandlerFunc) *http.Response {
	r := httptest.NewRequest("GET", "/", nil)
	if before != nil {
		for _, c := range before.Cookies() {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	w := httptest.NewRecorder()
	m.Middleware(handler).ServeHTTP(w, r)
	return w.Result()
}

// Goroutines that share the session of one visitor create one anonymous session, and it has every
// update.
func TestS3_UpdatesOfOneVisitor(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	const updates = 8
	for range 10 {
		created := m.Stats().Created
		answer := serve(m, nil, func(w http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			var wg sync.WaitGroup
			for range updates {
				wg.Go(func() {
					if err := s.Update(r.Context(), func(c *cart) error { c.N++; return nil }); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
		serve(m, answer, func(w http.ResponseWriter, r *http.Request) {
			if data := must[cart](t)(m.FromContext(r.Context()).Data(r.Context())); data.N != updates {
				t.Errorf("%d of %d updates are stored", data.N, updates)
			}
		})
		if n := m.Stats().Created - created; n != 1 {
			t.Errorf("%d anonymous sessions of one visitor", n)
		}
	}
}

// A login and a first Flash run at the same time. Both return nil, so the browser is logged in and
// has its message.
func TestS3_ALoginDuringAFirstFlash(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	for i := range 30 {
		user := fmt.Sprint("user ", i)
		answer := serve(m, nil, func(w http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			var wg sync.WaitGroup
			wg.Go(func() { ok2(t, s.Login(r.Context(), user)) })
			wg.Go(func() { ok2(t, s.Flash(r.Context(), "notice", "hello")) })
			wg.Go(func() { ok2(t, s.Update(r.Context(), func(c *cart) error { c.N++; return nil })) })
			wg.Wait()
		})
		serve(m, answer, func(w http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			messages := must[[]session.Message](t)(s.Flashes(r.Context()))
			if data := must[cart](t)(s.Data(r.Context())); s.User() != user || data.N != 1 || len(messages) != 1 {
				t.Errorf("user %q, %+v, messages %v", s.User(), data, messages)
			}
		})
	}
}

// ok2 is ok for goroutines of a test.
func ok2(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// A login keeps data and messages of a visitor and of the same user, and never of another user.
func TestS4_DataStaysWithItsUser(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		for from, carries := range map[string]bool{"": true, "bob": true, "ada": false} {
			s := must[*sess](t)(m.Create(ctx, from, cart{Note: "of " + from}))
			ok(t, s.Flash(ctx, "notice", "for "+from))
			ok(t, s.Login(ctx, "bob"))
			again := must[*sess](t)(m.Load(ctx, s.Token()))
			data, messages := must[cart](t)(again.Data(ctx)), must[[]session.Message](t)(again.Flashes(ctx))
			if carried := data.Note != ""; carried != carries || (len(messages) == 1) != carries {
				t.Errorf("from %q to bob: data %+v, messages %v", from, data, messages)
			}
		}
	})
}

// A failed change logs no user in. Data that is too large is not stored and logs no user in.
func TestS3_LoginWithSetsDataInTheSameWrite(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{MaxSize: 1000})
		for _, from := range []string{"", "bob", "ada"} {
			s := must[*sess](t)(m.Create(ctx, from, cart{N: 1}))
			before := s.Token()
			mine := errors.New("no plan")
			if err := s.LoginWith(ctx, "bob", func(*cart) error { return mine }); err != mine {
				t.Errorf("the error of change: %v", err)
			}
			if err := s.LoginWith(ctx, "bob", func(c *cart) error {
				c.Note = string(make([]byte,
					2000))
				return nil
			}); !errors.Is(err, redstart.ErrTooLarge) {
				t.Errorf("too large: %v", err)
			}
			if got := must[*sess](t)(m.Load(ctx, before)); got.User() != from {
				t.Errorf("after a failed login the user is %q", got.User())
			}
			ok(t, s.LoginWith(ctx, "bob", func(c *cart) error { c.N += 10; c.Note = "gold"; return nil }))
			want := 11
			if from == "ada" {
				want = 10
			}
			again := must[*sess](t)(m.Load(ctx, s.Token()))
			if data := must[cart](t)(again.Data(ctx)); again.User() != "bob" || data.N != want || data.Note != "gold" {
				t.Errorf("from %q: %q, %+v", from, again.User(), data)
			}
		}
	})
}

// Data returns ErrUnreadable. Login and Update replace unreadable data by empty data.
func TestS4_UnreadableDataIsRepaired(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	m := manager(t, open(t, url, namespace), session.Options{})
	other := must[*session.Manager[[]int]](t)(session.New[[]int](open(t, url, namespace), "web", session.Options{}))
	ctx := t.Context()
	for name, repair := range map[string]func(s *session.Session[[]int]) error{
		"login": func(s *session.Session[[]int]) error { return s.Login(ctx, "ada") },
		"login with": func(s *session.Session[[]int]) error {
			return s.LoginWith(ctx, "ada", func(*[]int) error { return nil })
		},
		"update": func(s *session.Session[[]int]) error {
			return s.Update(ctx, func(v *[]int) error { *v = append(*v, 1); return nil })
		},
	} {
		stored := must[*sess](t)(m.Create(ctx, "ada", cart{Note: "x"}))
		s := must[*session.Session[[]int]](t)(other.Load(ctx, stored.Token()))
		if _, err := s.Data(ctx); !errors.Is(err, session.ErrUnreadable) ||
			errors.Is(err, session.ErrNotFound) || !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("data: %v", err)
		}
		ok(t, repair(s))
		again := must[*session.Session[[]int]](t)(other.Load(ctx, s.Token()))
		if data, err := again.Data(ctx); err != nil || (len(data) == 1) != (name == "update") {
			t.Errorf("after %s: %v, %v", name, data, err)
		}
	}
}
