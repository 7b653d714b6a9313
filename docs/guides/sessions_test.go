package guides_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"context"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/session"
)

// Account is the data of a session. Add and remove fields freely; do not change what a field means.
type Account struct {
	Cart  []string
	Theme string
}

// Site has the sessions of a web site.
type Site struct {
	sessions *session.Manager[Account]
	password func(name, password string) (user string, ok bool)
	events   http.Handler // such as the Streams of a durable bus
}

// newSite makes the Manager once. keys are the encryption keys, the one that writes first.
func newSite(client *redstart.Client, keys [][]byte) (*Site, error) {
	sessions, err := session.New[Account](client, "web", session.Options{
		IdleTimeout:    time.Hour,
		Lifetime:       24 * time.Hour,
		MaxPerUser:     20,
		EncryptionKeys: keys,
	})
	return &Site{sessions: sessions}, err
}

// Handler has the middlewares in their order.
func (s *Site) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /logout", s.logout)
	mux.HandleFunc("POST /cart", s.addToCart)
	mux.HandleFunc("GET /devices", s.devices)
	mux.HandleFunc("DELETE /devices/{id}", s.revoke)
	mux.HandleFunc("POST /password", s.changePassword)
	mux.HandleFunc("GET /events", s.stream)

	return http.NewCrossOriginProtection().Handler(s.sessions.Middleware(mux))
}

// login begins the session of a user. It must be called before the response is written.
func (s *Site) login(w http.ResponseWriter, r *http.Request) {
	user, ok := s.password(r.FormValue("name"), r.FormValue("password"))
	if !ok {
		http.Error(w, "wrong name or password", http.StatusUnauthorized)
		return
	}

	opts := []session.CreateOption{session.DeviceOf(r)}
	if r.FormValue("remember") != "" {
		opts = append(opts, session.Remember())
	}
	if err := s.sessions.Login(r.Context(), user, opts...); err != nil {
		http.Error(w, "try again in a moment", http.StatusServiceUnavailable)
	}
}

// logout ends the session everywhere, and deletes the cookie.
func (s *Site) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.sessions.Destroy(r.Context()); err != nil {
		http.Error(w, "you may still be logged in", http.StatusServiceUnavailable)
	}
}

// addToCart changes the newest data. The function can be called again after a conflict.
func (s *Site) addToCart(w http.ResponseWriter, r *http.Request) {
	err := s.sessions.Update(r.Context(), func(a *Account) error {
		a.Cart = append(a.Cart, r.FormValue("item"))
		return nil
	})
	if err != nil {
		http.Error(w, "the cart is unchanged", http.StatusServiceUnavailable)
	}
}

// devices lists where the user is logged in, newest first.
func (s *Site) devices(w http.ResponseWriter, r *http.Request) {
	user := s.sessions.FromContext(r.Context()).User()
	if user == "" {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return
	}
	list, err := s.sessions.List(r.Context(), user)
	if err != nil {
		http.Error(w, "try again in a moment", http.StatusServiceUnavailable)
		return
	}
	for _, device := range list {
		fmt.Fprintf(w, "%q current=%t\n", device.UserAgent, device.Current) // %q escapes what the browser sent
	}
}

// revoke logs one device of the same user out.
func (s *Site) revoke(w http.ResponseWriter, r *http.Request) {
	user := s.sessions.FromContext(r.Context()).User()
	err := s.sessions.Revoke(r.Context(), user, r.PathValue("id"))
	switch {
	case errors.Is(err, session.ErrNotFound):
		http.Error(w, "no such device", http.StatusNotFound)
	case err != nil:
		http.Error(w, "the device may still be logged in", http.StatusServiceUnavailable)
	}
}

// changePassword asks for a recent login, and ends all other sessions afterwards.
func (s *Site) changePassword(w http.ResponseWriter, r *http.Request) {
	current := s.sessions.FromContext(r.Context())
	if time.Since(current.AuthenticatedAt()) > 10*time.Minute {
		http.Error(w, "enter your password again", http.StatusForbidden)
		return
	}

	// Store the new password here.
	if err := current.Renew(r.Context()); err != nil {
		http.Error(w, "try again in a moment", http.StatusServiceUnavailable)
		return
	}
	if _, err := current.RevokeOthers(r.Context()); err != nil {
		http.Error(w, "other devices may still be logged in", http.StatusServiceUnavailable)
	}
}

// stream serves until the client leaves or the session ends.
func (s *Site) stream(w http.ResponseWriter, r *http.Request) {
	ctx, cancel, err := s.sessions.FromContext(r.Context()).Watch(r.Context())
	if err != nil {
		http.Error(w, "not logged in", http.StatusUnauthorized)
		return
	}
	defer cancel()

	s.events.ServeHTTP(w, r.WithContext(ctx)) // the cause of its end is session.ErrEnded after a logout
}

// encryptionKeys decodes a comma-separated list of keys, such as "new,old". The first key writes,
// all of them read.
func encryptionKeys(list string) (keys [][]byte, err error) {
	for text := range strings.SplitSeq(list, ",") {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != 32 {
			return nil, errors.New("SESSION_KEYS: want 32 bytes in base64 per key") // no key in the error
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func ExampleSite() {
	ctx := context.Background()
	server := must(embedded.Start(ctx, embedded.Options{}))
	defer server.Close()
	client := must(redstart.Open(ctx, redstart.Config{URL: server.URL()}))
	defer client.Close()

	oldKey := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("o", 32))) // in production: openssl rand -base64 32
	newKey := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("n", 32)))
	site := must(newSite(client, must(encryptionKeys(oldKey))))
	site.password = func(name, password string) (string, bool) { return "user:" + name, password == "correct" }

	ask := func(site *Site, method, path, body, agent string, cookies []*http.Cookie) *http.Response {
		r := httptest.NewRequest(method, "https://shop.example"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("User-Agent", agent)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		site.Handler().ServeHTTP(w, r)
		return w.Result()
	}
	phone := ask(site, "POST", "/login", "name=ada&password=correct", "phone", nil)
	laptop := ask(site, "POST", "/login", "name=ada&password=correct&remember=1", "laptop", nil)
	fmt.Println(phone.StatusCode, len(phone.Cookies()), len(laptop.Cookies()))

	list := must(site.sessions.List(ctx, "user:ada"))
	fmt.Println(len(list), list[0].UserAgent, list[0].Remembered)
	fmt.Println(ask(site, "DELETE", "/devices/"+list[1].ID, "", "laptop", laptop.Cookies()).StatusCode)
	fmt.Println(ask(site, "GET", "/devices", "", "phone", phone.Cookies()).StatusCode)
	fmt.Println(ask(site, "POST", "/password", "", "laptop", laptop.Cookies()).StatusCode)

	// Another process has the new key as well. It reads the session, and writes with the new key
	// from then on.
	second := must(redstart.Open(ctx, redstart.Config{URL: server.URL()}))
	defer second.Close()
	next := must(newSite(second, must(encryptionKeys(newKey+","+oldKey))))
	fmt.Println(ask(next, "POST", "/cart", "item=pen", "laptop", laptop.Cookies()).StatusCode)
	// Output:
	// 200 1 2
	// 2 laptop true
	// 200
	// 401
	// 200
	// 200
}
