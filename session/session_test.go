package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// Each operation runs once on every engine.
func TestLifeOfASession(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{})

		s := must[*session.Session[cart]](t)(m.Create(ctx, "", cart{N: 1}))
		if s.ID() == "" || s.User() != "" || len(s.Token()) != 80 {
			t.Fatalf("id %q, user %q, token of %d characters", s.ID(), s.User(), len(s.Token()))
		}
		ok(t, s.Update(ctx, func(c *cart) error { c.N++; return nil }))
		ok(t, s.Flash(ctx, "notice", "hello"))

		before := s.Token()
		ok(t, s.Login(ctx, "ada", session.Device("browser", "192.0.2.1"), session.Remember()))
		if s.Token() == before || s.User() != "ada" {
			t.Fatal("the login changed nothing")
		}
		if _, err := m.Load(ctx, before); !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("the previous token: %v", err)
		}
		again := must[*session.Session[cart]](t)(m.Load(ctx, s.Token()))
		data := must[cart](t)(again.Data(ctx))
		if data.N != 2 || again.User() != "ada" {
			t.Fatalf("%+v of %q", data, again.User())
		}
		if messages := must[[]session.Message](t)(again.Flashes(ctx)); len(messages) != 1 || messages[0].Text != "hello" {
			t.Fatalf("flash messages: %v", messages)
		}
		if messages := must[[]session.Message](t)(again.Flashes(ctx)); len(messages) != 0 {
			t.Fatalf("flash messages, read a second time: %v", messages)
		}

		old := s.Token()
		ok(t, s.Renew(ctx))
		replaced := must[*session.Session[cart]](t)(m.Load(ctx, old))
		if replaced.ID() != s.ID() || s.Token() == old {
			t.Fatal("a renewal must change only the token")
		}
		ok(t, replaced.Update(ctx, func(c *cart) error { c.N = 7; return nil }))

		// A login of the same user: one slot, one script.
		ok(t, s.Login(ctx, "ada"))
		if data := must[cart](t)(s.Data(ctx)); data.N != 7 {
			t.Fatalf("the login lost a concurrent change: %+v", data)
		}
		other := must[*session.Session[cart]](t)(m.Create(ctx, "ada", cart{}, session.Device("phone", "")))
		list := must[[]session.Info](t)(m.List(ctx, "ada"))
		if len(list) != 2 || list[0].ID != other.ID() || list[0].UserAgent != "phone" {
			t.Fatalf("%+v", list)
		}
		ok(t, m.Revoke(ctx, "ada", other.ID()))
		if err := m.Revoke(ctx, "ada", other.ID()); !errors.Is(err, session.ErrNotFound) {
			t.Fatal(err)
		}
		// A login of another user moves the session to another slot.
		ok(t, s.Login(ctx, "bob", session.Remember()))
		if list := must[[]session.Info](t)(m.List(ctx, "ada")); len(list) != 0 {
			t.Fatalf("%+v", list)
		}
		recalled := must[*session.Session[cart]](t)(m.Recall(ctx, s.RememberToken()))
		if recalled.User() != "bob" || recalled.RememberToken() == s.RememberToken() {
			t.Fatal("a recalled session must have the user and a new remember-me token")
		}
		if n := must[int](t)(s.RevokeOthers(ctx)); n != 1 {
			t.Fatalf("%d others", n)
		}
		// The recall has ended s, and a Destroy of s has then ended the recalled session.
		if n := must[int](t)(m.RevokeUser(ctx, "bob")); n != 0 {
			t.Fatalf("%d sessions are left", n)
		}
		if _, err := m.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := m.Recall(ctx, recalled.RememberToken()); !errors.Is(err, session.ErrNotFound) {
			t.Fatal(err)
		}
		ok(t, s.Destroy(ctx))
		ok(t, s.Destroy(ctx))
	})
}

// A session in a context is the session of the calls with this context. Without one, the caller is
// a visitor who can log in. A context of another manager has no session.
func TestNewContext(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	m := manager(t, client, session.Options{})
	ada := must[*sess](t)(m.Create(t.Context(), "ada", cart{N: 1}))
	ctx := m.NewContext(t.Context(), must[*sess](t)(m.Load(t.Context(), ada.Token())))
	if s := m.FromContext(ctx); s.User() != "ada" || must[cart](t)(m.Data(ctx)).N != 1 {
		t.Errorf("the session of the context is %v", s)
	}
	ok(t, m.Update(ctx, func(c *cart) error { c.N++; return nil }))
	if data := must[cart](t)(must[*sess](t)(m.Load(t.Context(), ada.Token())).Data(t.Context())); data.N != 2 {
		t.Errorf("after an update: %+v", data)
	}

	visitor := m.NewContext(t.Context(), nil)
	if s := m.FromContext(visitor); s.User() != "" || s.Token() != "" {
		t.Errorf("a visitor is %q", s.User())
	}
	ok(t, m.Login(visitor, "bob"))
	if s := must[*sess](t)(m.Load(t.Context(), m.FromContext(visitor).Token())); s.User() != "bob" {
		t.Errorf("the token after the login belongs to %q", s.User())
	}

	other := must[*mgr](t)(session.New[cart](client, "other", session.Options{}))
	if err := other.Update(ctx, func(*cart) error { return nil }); !errors.Is(err, session.ErrNoMiddleware) {
		t.Errorf("another manager: %v", err)
	}
	if text := fmt.Sprintf("%v %+v", ctx, ctx); strings.Contains(text, ada.Token()) {
		t.Error("a printed context has the token")
	}
}
