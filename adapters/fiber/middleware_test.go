package redstartfiber_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/cache"
	"github.com/gofiber/fiber/v3/middleware/recover"
	"go.uber.org/goleak"

	"github.com/redstart-go/redstart/idempotency"

	redstartfiber "github.com/redstart-go/redstart/adapters/fiber"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/httpsuite"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// fasthttp and the cache of fiber each have a goroutine that no call ends. The one of a stopped
// server ends after a sleep of 10 s.
func TestMain(m *testing.M) {
	rig.Main(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/gofiber/fiber/v3/middleware/cache.New.func4"))
}

// The middlewares do the same in fiber as in net/http.
func TestMiddlewares(t *testing.T) {
	t.Parallel()
	httpsuite.Run(t, build)
}

// build returns an app of fiber, as a handler of net/http.
func build(routes []httpsuite.Route) http.Handler {
	app := fiber.New()
	app.Use(recover.New())
	app.Use(func(c fiber.Ctx) error { // an outer middleware
		c.Set("X-Outer", "1")
		return c.Next()
	})
	for _, route := range routes {
		app.Add([]string{route.Method}, route.Path, redstartfiber.Use(route.Middleware), func(c fiber.Ctx) error {
			reply := route.Handle(c.Context(), string(c.Body()))
			switch {
			case reply.Fails:
				return fiber.NewError(reply.Status, reply.Body)
			case reply.Body == "":
				c.Status(reply.Status)
				return nil
			}
			return c.Status(reply.Status).SendString(reply.Body)
		})
	}
	return served(app)
}

// served sends the requests of a handler to an app.
func served(app *fiber.App) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res, err := app.Test(r, fiber.TestConfig{Timeout: 0})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer res.Body.Close()
		maps.Copy(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})
}

// A stream is sent. An executor answers a repeated request as not repeatable. Header fields of
// outer middlewares are sent once.
func TestStream(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	e, err := idempotency.New(client, "export", idempotency.Options{Scope: idempotency.OneScope})
	if err != nil {
		t.Fatal(err)
	}
	app := fiber.New()
	app.Use(func(c fiber.Ctx) error {
		c.Set("X-Outer", "1")
		return c.Next()
	})
	app.Post("/export", redstartfiber.Use(e.Middleware), func(c fiber.Ctx) error {
		return c.SendStream(strings.NewReader("a long export"))
	})
	for i, want := range []int{http.StatusOK, http.StatusConflict} {
		r := httptest.NewRequest("POST", "/export", nil)
		r.Header.Set("Idempotency-Key", `"k"`)
		w := httptest.NewRecorder()
		served(app).ServeHTTP(w, r)
		if w.Code != want || len(w.Header()["X-Outer"]) != 1 || i == 0 && w.Body.String() != "a long export" {
			t.Errorf("request %d: %d %v %q", i, w.Code, w.Header(), w.Body)
		}
	}
}

// Cookies and repeated fields of a handler are sent once, through two middlewares.
func TestRepeatedFields(t *testing.T) {
	t.Parallel()
	same := func(next http.Handler) http.Handler { return next }
	app := fiber.New()
	app.Use(redstartfiber.Use(same))
	app.Get("/", redstartfiber.Use(same), func(c fiber.Ctx) error {
		c.Cookie(&fiber.Cookie{Name: "a", Value: "1"})
		c.Cookie(&fiber.Cookie{Name: "b", Value: "2"})
		c.Response().Header.Add("X-Several", "1")
		c.Response().Header.Add("X-Several", "2")
		return c.SendString("body")
	})
	w := httptest.NewRecorder()
	served(app).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if cookies := w.Header()["Set-Cookie"]; len(cookies) != 2 || len(w.Header()["X-Several"]) != 2 || w.Body.String() != "body" {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// listen serves an app, and returns a client and the address.
func listen(t *testing.T, app *fiber.App, network, address string) (client *http.Client, url string) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Listener(listener, fiber.ListenConfig{DisableStartupMessage: true}) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := errors.Join(app.Shutdown(), <-ended); err != nil {
			t.Error(err)
		}
	})
	return &http.Client{Transport: transport}, "http://shop.test"
}

// A connection over a unix socket counts as one from 127.0.0.1, as in net/http. The last of several
// X-Forwarded-For fields comes from the nearest proxy.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	var key string
	address := ratelimit.ClientAddress(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"))
	middleware := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var err error
			if key, err = address(r); err != nil {
				t.Error(err)
			}
			next.ServeHTTP(w, r)
		})
	}
	app := fiber.New()
	app.Get("/", redstartfiber.Use(middleware), func(c fiber.Ctx) error { return c.SendString("ok") })
	client, url := listen(t, app, "unix", filepath.Join(t.TempDir(), "s"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["X-Forwarded-For"] = []string{"203.0.113.7", "10.0.0.2"}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || key != "203.0.113.7" {
		t.Errorf("%d, key %q", res.StatusCode, key)
	}
}

// A middleware may keep the texts of a request. fiber reuses their memory for the next request of a
// connection.
func TestTextsOfARequestStay(t *testing.T) {
	t.Parallel()
	var kept []string
	keep := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kept = append(kept, r.Method, r.Host, r.RequestURI, r.URL.Path, r.URL.RawQuery, r.Header.Get("X-User"))
			next.ServeHTTP(w, r)
		})
	}
	app := fiber.New()
	app.All("/*", redstartfiber.Use(keep), func(c fiber.Ctx) error { return c.SendString("ok") })
	client, url := listen(t, app, "tcp", "127.0.0.1:0")
	send := func(method, target, user string) {
		r, err := http.NewRequestWithContext(t.Context(), method, url+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-User", user)
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body) // so that the next request uses the connection
		res.Body.Close()
	}
	send("POST", "/orders/1?a=1", "ada")
	want := slices.Clone(kept)
	for i := range want {
		want[i] = strings.Clone(want[i])
	}
	send("GET", "/xxxxxx/x?x=x", "xxx")
	if got := kept[:len(want)]; !slices.Equal(got, want) {
		t.Errorf("after a second request: %q, want %q", got, want)
	}
}

// A target that is no URL is 400, as in net/http. It is an error of the client.
func TestTargetThatIsNoURL(t *testing.T) {
	t.Parallel()
	app := fiber.New()
	same := func(next http.Handler) http.Handler { return next }
	app.All("/*", redstartfiber.Use(same), func(c fiber.Ctx) error { return c.SendString("ok") })
	client, url := listen(t, app, "tcp", "127.0.0.1:0")
	for target, want := range map[string]int{"/%zz": http.StatusBadRequest, "/a%20b": http.StatusOK} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = target
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: %d, want %d", target, res.StatusCode, want)
		}
	}
}

// A handler takes the connection over, like a WebSocket. The answer 101 passes the middlewares.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	store := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	l, err1 := ratelimit.New(store, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(9)}})
	m, err2 := session.New[struct{}](store, "web", session.Options{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	app := fiber.New()
	limit := redstartfiber.Use(l.Middleware(ratelimit.ClientAddress()))
	app.Get("/", redstartfiber.Use(m.Middleware), limit, func(c fiber.Ctx) error {
		c.Status(http.StatusSwitchingProtocols)
		c.Set("Connection", "Upgrade")
		c.Set("Upgrade", "echo")
		c.RequestCtx().Hijack(func(conn net.Conn) { _, _ = io.CopyN(conn, conn, 5) })
		return nil
	})
	client, url := listen(t, app, "tcp", "127.0.0.1:0")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	conn, ok := res.Body.(io.ReadWriter)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok || res.Header.Get("RateLimit") == "" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	answer := make([]byte, 5)
	_, err = io.WriteString(conn, "hello")
	if _, readErr := io.ReadFull(conn, answer); err != nil || readErr != nil || string(answer) != "hello" {
		t.Errorf("%q, %v, %v", answer, err, readErr)
	}
}

// The methods of a fiber.Storage, in the way that its middlewares use them.
func TestStorage(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	s, err := redstartfiber.NewStorage(client, "fiber")
	if err != nil {
		t.Fatal(err)
	}
	check := func(key, want string) {
		t.Helper()
		got, err := s.Get(key)
		if err != nil || string(got) != want || want == "" && got != nil {
			t.Errorf("%s: %q, %v, want %q", key, got, err, want)
		}
	}
	check("missing", "")
	for _, err := range []error{
		s.Set("a", []byte("1"), 0), s.Set("b", []byte("2"), time.Hour), s.Set("", []byte("3"), 0), s.Set("c", nil, 0),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	check("a", "1")
	check("b", "2")
	check("c", "")
	if err := s.Delete("a"); err != nil {
		t.Error(err)
	}
	check("a", "")
	check("b", "2")
	if err := s.Reset(); err != nil {
		t.Error(err)
	}
	check("b", "")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// The cache middleware of fiber on a Storage: the handler runs once.
func TestStorageOfTheCacheOfFiber(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	s, err := redstartfiber.NewStorage(client, "pages")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	app := fiber.New()
	app.Use(cache.New(cache.Config{Storage: s, Expiration: time.Hour}))
	app.Get("/", func(c fiber.Ctx) error {
		ran++
		return c.SendString("page")
	})
	for range 3 {
		w := httptest.NewRecorder()
		served(app).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != http.StatusOK || w.Body.String() != "page" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if ran != 1 {
		t.Errorf("the handler ran %d times", ran)
	}
}
