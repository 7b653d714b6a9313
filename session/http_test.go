package session_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// browser is an HTTP client with TLS and a cookie jar.
type browser struct {
	t      testing.TB
	client *http.Client
	url    string
}

// site is a small application that uses sessions behind http.CrossOriginProtection.
func site(t *testing.T, m *mgr) *httptest.Server {
	mux := http.NewServeMux()
	handle := func(pattern string, fn func(s *sess, w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := fn(m.FromContext(r.Context()), w, r); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("GET /whoami", func(s *sess, w http.ResponseWriter, r *http.Request) error {
		data, err := s.Data(r.Context())
		fmt.Fprintf(w, "%s %d", s.User(), data.N)
		return err
	})
	handle("POST /add", func(s *sess, w http.ResponseWriter, r *http.Request) error {
		return s.Update(r.Context(), func(c *cart) error { c.N++; return nil })
	})
	handle("POST /login", func(s *sess, w http.ResponseWriter, r *http.Request) error {
		opts := []session.CreateOption{session.DeviceOf(r)}
		if r.FormValue("remember") != "" {
			opts = append(opts, session.Remember())
		}
		if err := s.Login(r.Context(), r.FormValue("user"), opts...); err != nil {
			return err
		}
		if err := s.Flash(r.Context(), "notice", "welcome"); err != nil {
			return err
		}
		http.Redirect(w, r, "/home", http.StatusSeeOther)
		return nil
	})
	handle("GET /home", func(s *sess, w http.ResponseWriter, r *http.Request) error {
		messages, err := s.Flashes(r.Context())
		for _, message := range messages {
			fmt.Fprint(w, message.Text)
		}
		return err
	})
	handle("POST /renew", func(s *sess, w http.ResponseWriter, r *http.Request) error { return s.Renew(r.Context()) })
	handle("POST /others", func(s *sess, w http.ResponseWriter, r *http.Request) error {
		_, err := s.RevokeOthers(r.Context())
		return err
	})
	handle("POST /logout", func(s *sess, w http.ResponseWriter, r *http.Request) error { return s.Destroy(r.Context()) })
	server := httptest.NewTLSServer(http.NewCrossOriginProtection().Handler(m.Middleware(mux)))
	t.Cleanup(server.Close)
	return server
}

func browse(t testing.TB, server *httptest.Server) *browser {
	jar, err := cookiejar.New(nil)
	ok(t, err)
	return &browser{t: t, client: &http.Client{Transport: server.Client().Transport, Jar: jar}, url: server.URL}
}

func (b *browser) get(path string) string {
	b.t.Helper()
	response, err := b.client.Get(b.url + path)
	return b.read(response, err)
}

func (b *browser) post(path string, form url.Values) string {
	b.t.Helper()
	response, err := b.client.PostForm(b.url+path, form)
	return b.read(response, err)
}

func (b *browser) read(response *http.Response, err error) string {
	b.t.Helper()
	if err != nil {
		b.t.Error(err)
		return ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.t.Errorf("%s: %d %s %v", response.Request.URL.Path, response.StatusCode, text, err)
	}
	return string(text)
}

// cookies returns the cookies that the jar sends, by name.
func (b *browser) cookies() map[string]string {
	u, err := url.Parse(b.url)
	ok(b.t, err)
	all := map[string]string{}
	for _, c := range b.client.Jar.Cookies(u) {
		all[c.Name] = c.Value
	}
	return all
}

func (b *browser) whoami(want string) {
	b.t.Helper()
	if got := b.get("/whoami"); got != want {
		b.t.Errorf("whoami: %q, want %q", got, want)
	}
}

// Two browsers of one user log in, renew, recall and log out.
func TestBrowsers(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{})
		server := site(t, m)
		desk, phone := browse(t, server), browse(t, server)
		desk.whoami(" 0")
		if len(desk.cookies()) != 0 {
			t.Errorf("a visitor without writes has %v", desk.cookies())
		}
		desk.post("/add", nil)
		desk.post("/add", nil)
		desk.whoami(" 2")
		visitor := desk.cookies()["__Host-session"]
		if got := desk.post("/login", url.Values{"user": {"ada"}}); got != "welcome" {
			t.Errorf("the page after the login says %q", got)
		}
		if got := desk.get("/home"); got != "" {
			t.Errorf("the page after that says %q", got)
		}
		desk.whoami("ada 2")
		if now := desk.cookies()["__Host-session"]; now == visitor || len(now) != 80 {
			t.Error("the login did not change the cookie")
		}
		phone.post("/login", url.Values{"user": {"ada"}, "remember": {"yes"}})
		if list := must[[]session.Info](t)(m.List(t.Context(), "ada")); len(list) != 2 ||
			!strings.HasPrefix(list[0].UserAgent, "Go-http-client") || list[0].Address != "127.0.0.1" {
			t.Errorf("%+v", list)
		}

		// Concurrent requests and a renewal: no request is logged out, and no update is lost.
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if i%4 == 1 {
					desk.post("/renew", nil)
				} else {
					desk.post("/add", nil)
				}
			})
		}
		wg.Wait()
		desk.whoami("ada 11")

		// The session of the phone expires. Its remember-me token starts a new session, each time
		// with a new token.
		remembered := phone.cookies()["__Host-remember"]
		s := must[*sess](t)(m.Load(t.Context(), phone.cookies()["__Host-session"]))
		forget(phone)
		phone.whoami("ada 0")
		if again := phone.cookies(); again["__Host-remember"] == remembered ||
			again["__Host-session"] == s.Token() || again["__Host-session"] == "" {
			t.Error("the recall did not change the cookies")
		}
		// The desk revokes the others. Neither the session nor the remember-me token of the phone
		// works.
		desk.post("/others", nil)
		phone.whoami(" 0")
		desk.whoami("ada 11")

		stolen := desk.cookies()["__Host-session"]
		desk.post("/logout", nil)
		if left := desk.cookies(); len(left) != 0 {
			t.Errorf("after the logout the browser has %v", left)
		}
		desk.whoami(" 0")
		r := must[*http.Request](t)(http.NewRequest("GET", server.URL+"/whoami", nil))
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: stolen})
		if got := desk.read(server.Client().Transport.RoundTrip(r)); got != " 0" {
			t.Errorf("the previous cookie is %q", got)
		}
	})
}

// forget deletes the session cookie of the browser, as closing the browser does.
func forget(b *browser) {
	u, _ := url.Parse(b.url)
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Path: "/", MaxAge: -1, Secure: true}})
}

// The attributes of the cookies are read from the response headers.
func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	for _, tt := range []struct {
		opts    session.CookieOptions
		life    time.Duration
		session string // without the value
		recall  string
	}{
		{session.CookieOptions{}, 0, "__Host-session; Path=/; HttpOnly; Secure; SameSite=Lax",
			"__Host-remember; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax"},
		{session.CookieOptions{SameSite: http.SameSiteStrictMode, Persistent: true}, 2 * time.Hour,
			"__Host-session; Path=/; Max-Age=7199; HttpOnly; Secure; SameSite=Strict",
			"__Host-remember; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict"},
		{session.CookieOptions{Domain: "example.org"}, 0,
			"__Secure-session; Path=/; Domain=example.org; HttpOnly; Secure; SameSite=Lax",
			"__Secure-remember; Path=/; Domain=example.org; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax"},
		{session.CookieOptions{Path: "/app"}, 0, "__Secure-session; Path=/app; HttpOnly; Secure; SameSite=Lax",
			"__Secure-remember; Path=/app; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax"},
		{session.CookieOptions{Partitioned: true, SameSite: http.SameSiteNoneMode}, 0,
			"__Host-session; Path=/; HttpOnly; Secure; SameSite=None; Partitioned",
			"__Host-remember; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=None; Partitioned"},
		{session.CookieOptions{Partitioned: true, SameSite: http.SameSiteNoneMode, Path: "/app"}, 0,
			"__Secure-session; Path=/app; HttpOnly; Secure; SameSite=None; Partitioned",
			"__Secure-remember; Path=/app; Max-Age=2592000; HttpOnly; Secure; SameSite=None; Partitioned"},
		{session.CookieOptions{Insecure: true}, 0, "session; Path=/; HttpOnly; SameSite=Lax",
			"remember; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"},
		{session.CookieOptions{Name: "sid", Persistent: true}, session.NoLifetime,
			"sid; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax",
			"sid-remember; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax"},
	} {
		m := manager(t, client, session.Options{Cookie: tt.opts, Lifetime: tt.life})
		w := httptest.NewRecorder()
		m.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ok(t, m.FromContext(r.Context()).Login(r.Context(), "ada", session.Remember()))
		})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		set := w.Result().Header["Set-Cookie"]
		if len(set) != 2 {
			t.Fatalf("%v", set)
		}
		for i, want := range []string{tt.session, tt.recall} {
			name, rest, _ := strings.Cut(set[i], "=")
			_, attributes, _ := strings.Cut(rest, ";")
			got := name + ";" + attributes
			if got != want && got != strings.Replace(want, "7199", "7200", 1) {
				t.Errorf("%+v:\ngot  %s\nwant %s", tt.opts, got, want)
			}
			if len(set[i]) > 4096 {
				t.Errorf("a cookie of %d bytes", len(set[i]))
			}
		}
		if v := w.Result().Header; v.Get("Vary") != "Cookie" || v.Get("Cache-Control") != "no-store" {
			t.Errorf("%v", v)
		}
		if c := m.Cookie(m.FromContext(t.Context())); c.MaxAge != -1 || c.Value != "" {
			t.Errorf("the cookie of an empty Session: %v", c)
		}
	}
}

// A browser ignores a deletion that lacks one of the attributes of the cookie.
func TestPartitionedCookiesAreDeletedInTheirPartition(t *testing.T) {
	t.Parallel()
	opts := session.CookieOptions{Partitioned: true, SameSite: http.SameSiteNoneMode, Path: "/app"}
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{Cookie: opts})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}, session.Remember()))
	answer := &http.Response{Header: http.Header{"Set-Cookie": {m.Cookie(s).String(), m.RememberCookie(s).String()}}}
	set := serve(m, answer, func(w http.ResponseWriter, r *http.Request) { ok(t, m.Destroy(r.Context())) }).Header["Set-Cookie"]
	want := []string{"__Secure-session=; Path=/app; Max-Age=0; HttpOnly; Secure; SameSite=None; Partitioned",
		"__Secure-remember=; Path=/app; Max-Age=0; HttpOnly; Secure; SameSite=None; Partitioned"}
	if !slices.Equal(set, want) {
		t.Errorf("after Destroy:\ngot  %q\nwant %q", set, want)
	}
}

// A form on another site can't send a request with our cookie.
func TestCrossOriginProtection(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	server := site(t, m)
	b := browse(t, server)
	b.post("/login", url.Values{"user": {"ada"}})
	for name, header := range map[string][2]string{"fetch metadata": {"Sec-Fetch-Site", "cross-site"},
		"sister domain": {"Sec-Fetch-Site", "same-site"}, "origin": {"Origin", "https://evil.example"}} {
		r := must[*http.Request](t)(http.NewRequest("POST", server.URL+"/add", nil))
		r.Header.Set(header[0], header[1])
		response := must[*http.Response](t)(b.client.Do(r))
		response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
	b.whoami("ada 0")
}
