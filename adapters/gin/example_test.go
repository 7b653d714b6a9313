package redstartgin_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	"github.com/redstart-go/redstart"
	redstartgin "github.com/redstart-go/redstart/adapters/gin"
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

	router := gin.New()
	router.Use(redstartgin.Use(sessions.Middleware))
	router.Use(redstartgin.Use(limiter.Middleware(ratelimit.Route(nil))))
	router.GET("/", func(c *gin.Context) {
		c.String(http.StatusOK, "hello %q", sessions.FromContext(c.Request.Context()).User())
	})

	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 hello ""
}
