package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/session"
)

// Account is the session data of this application.
type Account struct {
	Cart []string
}

// start starts a server for the examples.
func start(ctx context.Context) (client *redstart.Client, stop func()) {
	server, err := embedded.Start(ctx, embedded.Options{})
	if err != nil {
		panic(err)
	}
	client, err = redstart.Open(ctx, redstart.Config{URL: server.URL()})
	if err != nil {
		panic(err)
	}
	return client, func() {
		client.Close()
		server.Close()
	}
}

func Example() {
	ctx := context.Background()
	client, stop := start(ctx)
	defer stop()

	sessions, err := session.New[Account](client, "web", session.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
		err := sessions.FromContext(r.Context()).Update(r.Context(), func(a *Account) error {
			a.Cart = append(a.Cart, r.FormValue("item"))
			return nil
		})
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		// … after the password was checked:
		if err := sessions.FromContext(r.Context()).Login(r.Context(), "ada", session.DeviceOf(r)); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s := sessions.FromContext(r.Context())
		account, err := s.Data(r.Context())
		fmt.Fprintf(w, "%s has %v %v", s.User(), account.Cart, err)
	})
	// http.CrossOriginProtection refuses requests that other sites send with our cookies.
	handler := http.NewCrossOriginProtection().Handler(sessions.Middleware(mux))

	var cookie string
	for _, request := range []string{"POST /cart?item=lamp", "POST /login", "GET /"} {
		var method, path string
		fmt.Sscan(request, &method, &path)
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			cookie = c.Name + "=" + c.Value
		}
		fmt.Printf("%s: %d %q\n", request, w.Code, w.Body)
	}
	// Output:
	// POST /cart?item=lamp: 200 ""
	// POST /login: 200 ""
	// GET /: 200 "ada has [lamp] <nil>"
}

// The page on which users manage their sessions.
func ExampleManager_List() {
	ctx := context.Background()
	client, stop := start(ctx)
	defer stop()
	sessions, err := session.New[Account](client, "web", session.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, device := range []string{"desk", "phone", "the phone that was lost"} {
		if _, err := sessions.Create(ctx, "ada", Account{}, session.Device(device, "192.0.2.1")); err != nil {
			fmt.Println(err)
		}
	}
	list, err := sessions.List(ctx, "ada")
	fmt.Println(len(list), list[0].UserAgent, err)
	fmt.Println(sessions.Revoke(ctx, "ada", list[0].ID))
	fmt.Println(errors.Is(sessions.Revoke(ctx, "ada", list[0].ID), session.ErrNotFound))
	n, err := sessions.RevokeUser(ctx, "ada") // log out everywhere
	fmt.Println(n, err)
	// Output:
	// 3 the phone that was lost <nil>
	// <nil>
	// true
	// 2 <nil>
}

// A server-sent event stream that ends with its session.
func ExampleSession_Watch() {
	ctx := context.Background()
	client, stop := start(ctx)
	defer stop()
	sessions, err := session.New[Account](client, "web", session.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := sessions.Create(ctx, "ada", Account{})
	if err != nil {
		fmt.Println(err)
		return
	}
	live, cancel, err := s.Watch(ctx) // in a handler: Watch(r.Context())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cancel()
	go sessions.RevokeUser(ctx, "ada")
	<-live.Done()
	fmt.Println(errors.Is(context.Cause(live), session.ErrEnded))
	// Output: true
}
