package redstartfiber_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/cache"
	"go.uber.org/goleak"

	"github.com/redstart-go/redstart/idempotency"

	redstartfiber "github.com/redstart-go/redstart/adapters/fiber"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/httpsuite"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// fasthttp and the cache of fiber each have a goroutine that no call ends.
func TestMain(m *testing.M) {
	rig.Main(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
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
