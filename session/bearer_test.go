package session_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// With Bearer, the token of the Authorization header is used and the cookies are ignored. Without
// it the header is ignored.
func TestBearer(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{Bearer: true})
	plain := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	ada := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	eve := must[*sess](t)(m.Create(t.Context(), "eve", cart{}, session.Remember()))
	request := func(m *mgr, authorization string, handler func(s *sess, r *http.Request)) *http.Response {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(m.Cookie(eve))
		r.AddCookie(m.RememberCookie(eve))
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter,
			r *http.Request) {
			handler(m.FromContext(r.Context()), r)
		})).ServeHTTP(w, r)
		return w.Result()
	}
	for authorization, want := range map[string]string{
		"Bearer " + ada.Token(): "ada", "bearer " + ada.Token(): "ada", "Bearer " + ada.Token() + "x": "",
		"Bearer ": "", "Bearer": "",
		"Basic " + ada.Token(): "eve", "Bearer " + eve.RememberToken(): "", ada.Token(): "eve",
	} {
		answer := request(m, authorization, func(s *sess, r *http.Request) {
			if s.User() != want {
				t.Errorf("%.10s: the user is %q, want %q", authorization, s.User(), want)
			}
		})
		if answer.Header["Set-Cookie"] != nil || answer.Header.Get(session.TokenHeader) != "" {
			t.Errorf("%.10s: %v", authorization, answer.Header)
		}
	}
	request(plain, "Bearer "+ada.Token(), func(s *sess, r *http.Request) {
		if s.User() != "" {
			t.Errorf("without the option the header's user is %q", s.User())
		}
	})
	for _, authorization := range []string{"Bearer " + ada.Token(), "Bearer ", "bearer"} {
		var token, remember string
		answer := request(m, authorization, func(s *sess, r *http.Request) {
			ok(t, s.Login(r.Context(), "ada", session.Remember()))
			token, remember = s.Token(), s.RememberToken()
		})
		if h := answer.Header; h["Set-Cookie"] != nil || h.Get(session.TokenHeader) != token ||
			h.Get(session.RememberTokenHeader) != remember || token == "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("after a login: %v", h)
		}
	}
}

// A clock that is wrong by hours costs one refused script, and no login fails.
func TestAWrongClock(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{EncryptionKeys: [][]byte{key("k")}})
		for _, wrong := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
			session.SetSkew(m, wrong.Milliseconds())
			s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Remember()))
			session.SetSkew(m, wrong.Milliseconds())
			recalled := must[*sess](t)(m.Recall(ctx, s.RememberToken()))
			session.SetSkew(m, wrong.Milliseconds())
			ok(t, recalled.Login(ctx, "bob"))
			must[*sess](t)(m.Load(ctx, recalled.Token()))
		}
	})
}
