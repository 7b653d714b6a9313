package console_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/embedded"
)

// roleOf returns the role of a request whose visitor a proxy has authenticated. The proxy sets the
// header X-Group and removes it from requests of visitors.
func roleOf(r *http.Request) (console.Role, error) {
	switch group := r.Header.Get("X-Group"); group {
	case "on-call":
		return console.Operator, nil
	case "support":
		return console.Viewer, nil
	case "":
		return console.NoRole, nil
	default:
		return console.NoRole, errors.New("unknown group " + group)
	}
}

func Example() {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	pages, err := console.New(client, console.Options{
		Prefix:    "/console",
		Authorize: roleOf,
		Actor:     func(r *http.Request) string { return r.Header.Get("X-User") },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer pages.Close()
	mux := http.NewServeMux()
	mux.Handle("/console/", pages)

	for _, group := range []string{"on-call", ""} {
		request := httptest.NewRequest(http.MethodGet, "/console/locks", nil)
		request.Header.Set("X-Group", group)
		response := httptest.NewRecorder()
		mux.ServeHTTP(response, request)
		fmt.Printf("group %q: %d %s\n", group, response.Code, http.StatusText(response.Code))
	}
	// Output:
	// group "on-call": 200 OK
	// group "": 403 Forbidden
}
