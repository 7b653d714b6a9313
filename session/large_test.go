package session_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// Every call that transfers the data works with 1 MiB: concurrent updates, a login, a recall, and a
// recall that shares its response.
func TestOneMebibyteOfData(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	note := strings.Repeat("0123456789abcdef", 1<<16)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		for name, keys := range map[string][][]byte{"plain": nil, "encrypted": {key("k")}} {
			opts := session.Options{MaxSize: 2 << 20, EncryptionKeys: keys}
			m, other := manager(t, open(t, e.URL, e.Namespace+name), opts), manager(t, open(t, e.URL, e.Namespace+name), opts)
			holds := func(what, token string, n int) {
				t.Helper()
				data := must[cart](t)(must[*sess](t)(other.Load(ctx, token)).Data(ctx))
				if data.Note != note || data.N != n {
					t.Errorf("%s, %s: %d bytes, %d updates, want %d", name, what, len(data.Note), data.N, n)
				}
			}
			s := must[*sess](t)(m.Create(ctx, "", cart{Note: note}))
			var wg sync.WaitGroup
			for range 2 {
				for _, m := range []*mgr{m, other} {
					wg.Go(func() {
						s, err := m.Load(ctx, s.Token())
						if err == nil {
							err = s.Update(ctx, func(c *cart) error { c.N++; return nil })
						}
						if err != nil {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
			}
			wg.Wait()
			holds("after 4 updates", s.Token(), 4)
			s = must[*sess](t)(m.Load(ctx, s.Token()))
			ok(t, s.Login(ctx, "ada", session.Remember()))
			holds("after the login", s.Token(), 4)
			if err := s.Update(ctx, func(c *cart) error { c.Note += c.Note; return nil }); !errors.Is(err, redstart.ErrTooLarge) {
				t.Errorf("%s, more than MaxSize: %v", name, err)
			}

			// A recalled session starts empty, and the previous session ends with its data.
			recalled := must[*sess](t)(m.Recall(ctx, s.RememberToken()))
			if data := must[cart](t)(recalled.Data(ctx)); data.Note != "" {
				t.Errorf("%s: a recalled session has %d bytes", name, len(data.Note))
			}
			if _, err := other.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("%s: the previous session: %v", name, err)
			}
			ok(t, recalled.Update(ctx, func(c *cart) error { c.Note = note; return nil }))
			shared := must[*sess](t)(other.Recall(ctx, s.RememberToken()))
			if data := must[cart](t)(shared.Data(ctx)); shared.ID() != recalled.ID() || data.Note != note {
				t.Errorf("%s: a recall in the grace period shares %s with %d bytes, want %s", name, shared.ID(),
					len(data.Note), recalled.ID())
			}
		}
	})
}

// A server without memory starts no session for a remember-me token and deletes nothing. The
// response is a 503, not the page of a visitor. The token works when the server has memory again.
func TestS8_RecallOutOfMemory(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	for _, generation := range []string{"first", "second"} {
		s := must[*sess](t)(m.Create(ctx, "ada", cart{N: 1}, session.Remember()))
		if generation == "second" {
			s = must[*sess](t)(m.Recall(ctx, s.RememberToken()))
		}
		token := session.Key(m, s.RememberToken())
		before := [2]string{server.CLI("GET", token), server.CLI("GET", session.Key(m, s.Token()))}
		server.CLI("CONFIG", "SET", "maxmemory", "1")
		if _, err := m.Recall(ctx, s.RememberToken()); !errors.Is(err, redstart.ErrFull) {
			t.Errorf("%s token: %v", generation, err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(m.RememberCookie(s))
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })).ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Header()["Set-Cookie"] != nil {
			t.Errorf("%s token: the response has status %d and headers %v", generation, w.Code, w.Header())
		}
		if after := [2]string{server.CLI("GET", token), server.CLI("GET", session.Key(m, s.Token()))}; after != before {
			t.Errorf("%s token: a refused recall changed %.120q to %.120q", generation, before, after)
		}
		server.CLI("CONFIG", "SET", "maxmemory", "0")
		must[*sess](t)(m.Load(ctx, s.Token()))
		recalled := must[*sess](t)(m.Recall(ctx, s.RememberToken()))
		if list := fmt.Sprint(len(must[[]session.Info](t)(m.List(ctx, "ada")))); list != "1" {
			t.Errorf("%s token: %s sessions", generation, list)
		}
		must[*sess](t)(m.Load(ctx, recalled.Token()))
		must[int](t)(m.RevokeUser(ctx, "ada"))
	}
}
