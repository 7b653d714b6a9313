package redstartecho_test

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	redstartecho "github.com/redstart-go/redstart/adapters/echo"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/httpsuite"
)

func TestMain(m *testing.M) { rig.Main(m) }

// The middlewares do the same in echo as in net/http.
func TestMiddlewares(t *testing.T) {
	t.Parallel()
	httpsuite.Run(t, build)
}

// build returns a router of echo.
func build(routes []httpsuite.Route) http.Handler {
	e := echo.New()
	e.Logger = slog.New(slog.DiscardHandler)
	e.Use(middleware.Recover())
	for _, route := range routes {
		e.Add(route.Method, route.Path, func(c *echo.Context) error {
			body, err := io.ReadAll(c.Request().Body)
			if err != nil {
				return err
			}
			reply := route.Handle(c.Request().Context(), string(body))
			switch {
			case reply.Fails:
				return echo.NewHTTPError(reply.Status, reply.Body)
			case reply.Body == "":
				return c.NoContent(reply.Status)
			}
			return c.String(reply.Status, reply.Body)
		}, redstartecho.Use(route.Middleware))
	}
	return e
}

// An outer middleware gets the error of a handler, and the response of before.
func TestOuterMiddlewareGetsTheError(t *testing.T) {
	t.Parallel()
	e := echo.New()
	failed := echo.NewHTTPError(http.StatusTeapot, "no tea")
	outer := 0
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) error {
			before := c.Response()
			err := next(c)
			if !errors.Is(err, failed) || c.Response() != before {
				t.Errorf("got %v", err)
			}
			outer++
			return err
		}
	})
	same := func(next http.Handler) http.Handler { return next }
	e.GET("/", func(*echo.Context) error { return failed }, redstartecho.Use(same))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusTeapot || outer != 1 || strings.Count(w.Body.String(), "no tea") != 1 {
		t.Errorf("%d %s, %d outer middlewares", w.Code, w.Body, outer)
	}
}
