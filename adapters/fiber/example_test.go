package redstartfiber_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gofiber/fiber/v3"

	"github.com/redstart-go/redstart"
	redstartfiber "github.com/redstart-go/redstart/adapters/fiber"
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

	app := fiber.New()
	app.Use(redstartfiber.Use(sessions.Middleware))
	app.Use(redstartfiber.Use(limiter.Middleware(ratelimit.Route(nil))))
	app.Get("/", func(c fiber.Ctx) error {
		return c.SendString(fmt.Sprintf("hello %q", sessions.FromContext(c.Context()).User()))
	})

	res, err := app.Test(httptest.NewRequest(http.MethodGet, "/", nil), fiber.TestConfig{Timeout: 0})
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.StatusCode, string(body))
	// Output:
	// 200 hello ""
}
