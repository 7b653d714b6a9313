package idempotency_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/idempotency"
)

// connect opens a client of an embedded server. A service uses redstart.Open with the URL of its
// Redis.
func connect(ctx context.Context) (*redstart.Client, func()) {
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		log.Fatal(err)
	}
	return client, func() { client.Close(); server.Close() }
}

// An order that is sent twice is executed once.
func Example() {
	client, done := connect(context.Background())
	defer done()

	executor, err := idempotency.New(client, "orders", idempotency.Options{
		Scope: func(r *http.Request) (string, error) { return r.Header.Get("X-User"), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	orders := 0
	handler := executor.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		orders++
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "order %d", orders)
	}))

	send := func(user, key, body string) {
		r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(body))
		r.Header.Set("X-User", user)
		r.Header.Set("Idempotency-Key", `"`+key+`"`)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code == http.StatusCreated {
			fmt.Println(w.Code, w.Body)
			return
		}
		fmt.Println(w.Code)
	}
	send("ada", "k", "one engine")
	send("ada", "k", "one engine") // the client did not get the answer
	send("ada", "k", "two engines")
	send("bob", "k", "one engine")
	// Output:
	// 201 order 1
	// 201 order 1
	// 422
	// 201 order 2
}
