package session_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

func TestList(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		if list := must[[]session.Info](t)(m.List(ctx, "ada")); len(list) != 0 {
			t.Errorf("%+v", list)
		}
		before := time.Now().Add(-time.Minute)
		var all []*sess
		for i := range 3 {
			opts := []session.CreateOption{session.Device(fmt.Sprint("browser ", i, "\xff"), "192.0.2."+fmt.Sprint(i))}
			if i == 1 {
				opts = append(opts, session.Remember())
			}
			all = append(all, must[*sess](t)(m.Create(ctx, "ada", cart{}, opts...)))
		}
		must[*sess](t)(m.Create(ctx, "eve", cart{}))
		list := must[[]session.Info](t)(m.List(ctx, "ada"))
		if len(list) != 3 {
			t.Fatalf("%+v", list)
		}
		for i, info := range list {
			n := 2 - i // newest first
			if info.ID != all[n].ID() || info.UserAgent != fmt.Sprint("browser ", n) ||
				info.Address != fmt.Sprint("192.0.2.", n) || info.Remembered != (n == 1) ||
				info.Created.Before(before) || info.LastSeen.Before(before) ||
				info.Expires.Before(time.Now().Add(time.Hour-time.Minute)) ||
				info.Expires.After(time.Now().Add(time.Hour+2*time.Minute)) {
				t.Errorf("%d: %+v", i, info)
			}
		}
		for _, bad := range []string{"", "x", strings.Repeat("*", 16), strings.Repeat("A", 16), all[0].Token()} {
			if err := m.Revoke(ctx, "ada", bad); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("revoke %q: %v", bad, err)
			}
		}
		if err := m.Revoke(ctx, "eve", all[0].ID()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the id of another user's session: %v", err)
		}
		must[*sess](t)(m.Load(ctx, all[0].Token()))
		if _, err := m.List(ctx, ""); err == nil {
			t.Error("a list with an empty user succeeded")
		}
		if _, err := m.RevokeUser(ctx, ""); err == nil {
			t.Error("RevokeUser with an empty user succeeded")
		}
	})
}

// MaxPerUser ends the oldest sessions with their remember-me tokens, no matter which sessions were
// touched.
func TestMaxPerUser(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{MaxPerUser: 3})
		var all []*sess
		for i := range 7 {
			if i > 0 { // the oldest session was used last
				ok(t, all[max(0, i-3)].Update(ctx, func(c *cart) error { c.N++; return nil }))
			}
			s := must[*sess](t)(m.Create(ctx, "", cart{}))
			ok(t, s.Login(ctx, "ada", session.Remember()))
			all = append(all, s)
			for j, s := range all {
				_, err := m.Load(ctx, s.Token())
				if (err == nil) != (j > i-3) {
					t.Errorf("of %d sessions number %d: %v", i+1, j, err)
				}
			}
		}
		if _, err := m.Recall(ctx, all[0].RememberToken()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("the remember-me token of a displaced session: %v", err)
		}
		if n := m.Stats().Displaced; n != 4 {
			t.Errorf("%d displaced", n)
		}
		// A login of the same user replaces its session and displaces no session.
		ok(t, all[6].Login(ctx, "ada"))
		if n := len(must[[]session.Info](t)(m.List(ctx, "ada"))); n != 3 {
			t.Errorf("%d sessions", n)
		}
	})
}

// Users and managers whose names look like parts of keys have separate sessions.
func TestNamesAreSeparate(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		a, b := manager(t, client, session.Options{}), must[*mgr](t)(session.New[cart](client, "s:*{}", session.Options{}))
		names := []string{"ada", "ada ", "ADA", "a*", "{ada}", "ada:s:x", "\x00", "\xff\xfe", "%", "д", strings.Repeat("x", 1024)}
		tokens := map[string]string{}
		for _, user := range names {
			tokens[user] = must[*sess](t)(a.Create(ctx, user, cart{})).Token()
			if _, err := b.Load(ctx, tokens[user]); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("another manager knows the token of %q: %v", user, err)
			}
		}
		for _, user := range names {
			if s := must[*sess](t)(a.Load(ctx, tokens[user])); s.User() != user {
				t.Errorf("%q was returned as %q", user, s.User())
			}
			if n := must[int](t)(a.RevokeUser(ctx, user)); n != 1 {
				t.Errorf("%q: %d revoked", user, n)
			}
		}
		if _, err := a.Create(ctx, strings.Repeat("x", 1025), cart{}); err == nil {
			t.Error("a user of 1,025 bytes")
		}
	})
}
