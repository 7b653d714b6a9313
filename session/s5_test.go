package session_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// commands runs fn and returns the number of commands that the server has executed during the run,
// without the commands of new connections. The commands inside scripts count too.
func commands(t testing.TB, server *rig.Server, fn func()) map[string]int64 {
	t.Helper()
	before := server.CommandStats()
	fn()
	after := server.CommandStats()
	got := map[string]int64{}
	for name, n := range after {
		switch name {
		case "info", "ping", "hello", "client|tracking", "client|setinfo", "command", "quit":
			continue
		}
		if n -= before[name]; n != 0 {
			got[name] = n
		}
	}
	return got
}

func only(t testing.TB, what string, got map[string]int64, want map[string]int64) {
	t.Helper()
	same := len(got) == len(want)
	for name, n := range want {
		same = same && got[name] == n
	}
	if !same {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// The commands of each request are counted on a real server.
func TestS5_AnUnchangedRequestIsOneRead(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	s := must[*sess](t)(m.Create(ctx, "ada", cart{N: 1}))
	uses := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.FromContext(r.Context())
		for range 3 {
			if data := must[cart](t)(s.Data(r.Context())); s.User() != "ada" || data.N < 1 {
				t.Errorf("%q, %+v", s.User(), data)
			}
			must[[]session.Message](t)(s.Flashes(r.Context()))
		}
	}))
	visits := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.FromContext(r.Context())
		if data := must[cart](t)(s.Data(r.Context())); s.User() != "" || data.N != 0 || s.ID() != "" || s.Token() != "" {
			t.Errorf("%q, %+v", s.User(), data)
		}
		ok(t, s.Renew(r.Context()))
		ok(t, s.Destroy(r.Context()))
	}))
	updates := m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ok(t, m.FromContext(r.Context()).Update(r.Context(), func(c *cart) error { c.N++; return nil }))
	}))
	request := func(h http.Handler, cookie string) *http.Response {
		r := httptest.NewRequest("GET", "/", nil)
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	mine := "__Host-session=" + s.Token()

	only(t, "ten untouched requests", commands(t, server, func() {
		for range 10 {
			if set := request(uses, mine).Header["Set-Cookie"]; set != nil {
				t.Errorf("an unchanged request set %v", set)
			}
		}
	}), map[string]int64{"get": 10})
	only(t, "a visitor", commands(t, server, func() {
		request(visits, "")
		request(visits, "theme=dark; __Host-session=junk")
	}), map[string]int64{})

	// An update is two round trips: the read of the middleware, and one script.
	request(updates, mine) // the server caches the script
	only(t, "an update", commands(t, server, func() {
		if set := request(updates, mine).Header["Set-Cookie"]; set != nil {
			t.Errorf("an update set the cookie %v", set)
		}
	}), map[string]int64{"get": 2, "evalsha": 1, "time": 1, "set": 1, "zadd": 1, "zremrangebyscore": 1,
		"zrange": 1, "pexpireat": 1})

	// Touches are throttled: with an idle time of 1 h, one per minute.
	touched := m.Stats().Touched
	only(t, "59 s later", commands(t, server, func() {
		session.SetSkew(m, 59_000)
		request(uses, mine)
	}), map[string]int64{"get": 1})
	session.SetSkew(m, 61_000)
	request(uses, mine)
	if n := m.Stats().Touched - touched; n != 1 {
		t.Errorf("%d touches after 61 s", n)
	}
	// The reply has set the skew, so there is no second touch.
	only(t, "after the touch", commands(t, server, func() { request(uses, mine) }), map[string]int64{"get": 1})

	// A clock that is wrong by hours in either direction costs one touch, which corrects the skew.
	for _, wrong := range []time.Duration{3 * time.Hour, -3 * time.Hour} {
		session.SetSkew(m, wrong.Milliseconds())
		touched := m.Stats().Touched
		for range 3 {
			request(uses, mine)
		}
		if n := m.Stats().Touched - touched; n != 1 {
			t.Errorf("a clock that is wrong by %v caused %d touches", wrong, n)
		}
	}
}

func TestS5_Throttle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ idle, want time.Duration }{
		{time.Hour, time.Minute}, {10 * time.Minute, time.Minute}, {5 * time.Minute, 30 * time.Second},
		{time.Second, 100 * time.Millisecond}, {0, time.Minute},
	} {
		if got := session.Throttle(tt.idle.Milliseconds()); got != tt.want.Milliseconds() {
			t.Errorf("idle %v: %d ms, want %v", tt.idle, got, tt.want)
		}
	}
}

// RevokeUser of 1,000 sessions is one script, and one more script per 1,000 sessions.
func TestS5_RevokeUserIsOneScript(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	for _, tt := range []struct{ sessions, scripts int64 }{{1000, 1}, {2500, 3}} {
		for range tt.sessions {
			must[*sess](t)(m.Create(ctx, "ada", cart{}))
		}
		must[int](t)(m.RevokeUser(ctx, "eve")) // the server caches the script
		var n int
		got := commands(t, server, func() { n = must[int](t)(m.RevokeUser(ctx, "ada")) })
		if int64(n) != tt.sessions || got["evalsha"] != tt.scripts {
			t.Errorf("%d sessions: %d revoked by %d scripts", tt.sessions, n, got["evalsha"])
		}
		if left := server.CLI("DBSIZE"); left != "0" {
			t.Errorf("%s keys are left", left)
		}
	}
}
