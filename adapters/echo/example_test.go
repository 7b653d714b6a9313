package redstartecho_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/labstack/echo/v5"

	"github.com/redstart-go/redstart"
	redstartecho "github.com/redstart-go/redstart/adapters/echo"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Account is the data of a session.
type Account struct{ Plan string }

func Example() {
	ctx := context.Background()
	redis, err := embedded.Start(ctx, embedded.Options{}) // your Redis
	if err != nil {
		log.Fatal(err)
	}
	defer redis.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: redis.URL()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	sessions, err := session.New[Account](client, "web", session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	limiter, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(10)}})
	if err != nil {
		log.Fatal(err)
	}

	e := echo.New()
	e.Use(redstartecho.Use(sessions.Middleware))
	e.Use(redstartecho.Use(limiter.Middleware(ratelimit.Route(nil))))
	e.GET("/", func(c *echo.Context) error {
		return c.String(http.StatusOK, fmt.Sprintf("hello %q", sessions.FromContext(c.Request().Context()).User()))
	})

	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 hello ""
}
