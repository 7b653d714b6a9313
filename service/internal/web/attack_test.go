package web_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/service/internal/shop"
)

// Visitors can't find the names or addresses of users by counting ids. Users can't find addresses
// of other users.
func TestNothingPersonalIsReadableWithoutLogin(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada, grace := in.addUser("ada@example.com", "Ada Lovelace"), in.addUser("grace@example.com", "Grace")
		visitor := func(path string) answer { return in.do("GET", path, "", "Cookie", "") }

		for range 2 { // from the database, then from the cache
			for _, path := range []string{userPath(ada.ID), "/", "/?user=1"} {
				got := visitor(path)
				wantStatus(t, got, http.StatusOK)
				if strings.Contains(got.body, "Lovelace") || strings.Contains(got.body, ">ada@") ||
					strings.Contains(got.body, `"ada@`) && path != "/" && path != "/?user=1" {
					t.Errorf("%s shows a visitor who Ada is:\n%s", path, got.body)
				}
			}
			wantProblem(t, visitor(userByEmailPath("ada@example.com")), http.StatusUnauthorized, "log in")
			wantProblem(t, visitor(spendingPath(ada.ID)), http.StatusUnauthorized, "log in")
		}

		in.become(grace)
		other := in.get(userPath(ada.ID))
		wantStatus(t, other, http.StatusOK)
		if other.field(t, "name") != "Ada Lovelace" || strings.Contains(other.body, "ada@example.com") {
			t.Errorf("another user sees %s, want the name and no address", other.body)
		}
		if found := in.get(userByEmailPath("ada@example.com")); strings.Contains(found.body,
			"ada@example.com") || found.status != http.StatusOK {
			t.Errorf("another user finds %d %s, want the name and no address", found.status, found.body)
		}
		wantProblem(t, in.get(spendingPath(ada.ID)), http.StatusForbidden, "another user")

		in.become(ada)
		if own := in.get(userPath(ada.ID)); own.field(t, "email") != "ada@example.com" {
			t.Errorf("Ada sees %s, want all fields of Ada", own.body)
		}
		wantStatus(t, in.get(spendingPath(ada.ID)), http.StatusOK)
	})
}

// The page reads any user by id, so it counts as a request to the API.
func TestThePageIsUnderTheLimitOfTheAPI(t *testing.T) {
	t.Parallel()
	limits := shop.DefaultLimits()
	limits.Free = []ratelimit.Rule{{Limit: 3, Window: time.Hour}}
	in := startWith(t, redstarttest.Start(t).Config(), newDatabase(t), shop.Options{Limits: &limits})
	in.addUser("ada@example.com", "Ada")
	for n := range 3 {
		wantStatus(t, in.get(fmt.Sprint("/?user=", n%2+1)), []int{200, 404}[n%2])
	}
	wantStatus(t, in.get("/?user=1"), http.StatusTooManyRequests)
	wantStatus(t, in.get("/api/users/1"), http.StatusTooManyRequests)
	wantStatus(t, in.get("/"), http.StatusOK) // the front page has no limit
}

// Wrong passwords from one address lock the account for that address, and not for other addresses.
func TestWrongPasswordsDoNotLockTheOwnerOut(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		limits := shop.DefaultLimits()
		limits.LoginByAddress = []ratelimit.Rule{{Limit: 1000, Window: time.Hour}}
		in := startWith(t, redis, database, shop.Options{Limits: &limits})
		wantStatus(t, in.post("/api/signup", signUpBody("ada@example.com")), http.StatusCreated)
		try := func(address, password string) answer {
			return in.do("POST", "/api/login", logInBody("ada@example.com", password), "Content-Type",
				"application/json", "X-Forwarded-For", address)
		}

		for range 10 {
			wantStatus(t, try("203.0.113.1", "a guess"), http.StatusUnauthorized)
		}
		wantProblem(t, try("203.0.113.1", "a guess"), http.StatusTooManyRequests, "too many login attempts")
		wantStatus(t, try("198.51.100.7", "correct horse"), http.StatusOK)
		// the owner's login resets nothing there
		wantProblem(t, try("203.0.113.1", "correct horse"), http.StatusTooManyRequests, "too many login attempts")
	})
}

// A guesser with many addresses reaches the slower limit of the account.
func TestManyAddressesMeetTheLimitOfTheAccount(t *testing.T) {
	t.Parallel()
	limits := shop.DefaultLimits()
	limits.LoginByAccount = []ratelimit.Rule{{Limit: 6, Window: time.Hour}}
	server := redstarttest.Start(t)
	in := startWith(t, server.Config(), newDatabase(t), shop.Options{Limits: &limits})
	wantStatus(t, in.post("/api/signup", signUpBody("ada@example.com")), http.StatusCreated)
	for n := range 7 {
		got := in.do("POST", "/api/login", logInBody("ada@example.com", "a guess"), "Content-Type",
			"application/json", "X-Forwarded-For", fmt.Sprint("203.0.113.", n))
		wantStatus(t, got, map[bool]int{true: http.StatusUnauthorized, false: http.StatusTooManyRequests}[n < 6])
	}
	logIn := func() answer { return in.post("/api/login", logInBody("ada@example.com", "correct horse")) }
	wantProblem(t, logIn(), http.StatusTooManyRequests, "too many login attempts")
	server.Advance(time.Hour)
	wantStatus(t, logIn(), http.StatusOK)
}

// during runs a function once, when an operation of a pattern starts.
type during struct {
	operation observe.Operation
	once      sync.Once
	run       func()
}

func (d *during) Start(ctx context.Context, op observe.Operation) (context.Context, func(error)) {
	if op.Pattern == d.operation.Pattern && op.Verb == d.operation.Verb && d.run != nil {
		d.once.Do(d.run)
	}
	return ctx, func(error) {}
}

// The user is deleted after the password check and before the session is created. No session of the
// deleted user is left.
func TestALoginThatRacesADeletionLeavesNoSession(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		race := &during{operation: observe.Operation{Pattern: "session", Verb: "login"}}
		redis.Observer = race
		in := startWith(t, redis, database, shop.Options{Limits: unlimited()})
		wantStatus(t, in.post("/api/signup", signUpBody("grace@example.com")), http.StatusCreated)
		race.once = sync.Once{}
		race.run = func() {
			if err := in.shop.DeleteUser(context.Background(), 1); err != nil {
				t.Error(err)
			}
		}

		got := in.post("/api/login", logInBody("grace@example.com", "correct horse"))
		wantProblem(t, got, http.StatusUnauthorized, "")
		if sessions, err := in.shop.Sessions.List(t.Context(), shop.SessionUser(1)); err != nil || len(sessions) > 0 {
			t.Errorf("the deleted user has the sessions %+v, %v", sessions, err)
		}
		in.takeCookie(got)
		wantProblem(t, in.get("/api/me"), http.StatusUnauthorized, "log in")
	})
}

// A user can't use up the connections and the memory of an instance with streams.
func TestStreamsOfAUserAreCapped(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	ada, grace := in.addUser("ada@example.com", "Ada"), in.addUser("grace@example.com", "Grace")
	in.become(ada)
	open := func() (int, context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, "GET", in.url+"/api/notifications/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", in.cookie)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res.StatusCode, cancel
	}

	var leave context.CancelFunc
	for n := range shop.MaxStreams {
		var status int
		if status, leave = open(); status != http.StatusOK {
			t.Fatalf("stream %d answers %d", n, status)
		}
	}
	wantProblem(t, in.get("/api/notifications/stream"), http.StatusTooManyRequests, "streams")
	leave()
	rig.Eventually(t, 10*time.Second, "a place is free again",
		func() bool { status, _ := open(); return status == http.StatusOK })

	in.become(grace)
	if status, _ := open(); status != http.StatusOK {
		t.Errorf("another user's stream answers %d", status)
	}
}

// A full server refuses new sessions. This is temporary, and not an error of the shop.
func TestLoginOnAFullServerIsUnavailable(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	in := start(t, on(server.URL(), "app"), newDatabase(t))
	wantStatus(t, in.post("/api/signup", signUpBody("ada@example.com")), http.StatusCreated)
	server.CLI("CONFIG", "SET", "maxmemory", "1")
	for _, refused := range []answer{
		in.post("/api/login", logInBody("ada@example.com", "correct horse")),
		in.post("/api/signup", signUpBody("grace@example.com")),
	} {
		wantProblem(t, refused, http.StatusServiceUnavailable, "full")
		if refused.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	server.CLI("CONFIG", "SET", "maxmemory", "0")
	wantStatus(t, in.post("/api/login", logInBody("ada@example.com", "correct horse")), http.StatusOK)
}

// A request reaches neither the controls nor the sample login if it comes from a page of another
// site whose name resolves to this machine (DNS rebinding), or if a proxy has forwarded it.
func TestTheDemoAnswersThisMachineAlone(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	in.addUser("ada@example.com", "Ada")
	_, port, _ := strings.Cut(strings.TrimPrefix(in.url, "http://"), ":")
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/demo/redis", `{"state": "stop"}`},
		{"POST", "/demo/traffic", `{"users": 10, "seconds": 1}`},
		{"GET", "/demo/live", ""},
		{"POST", "/api/login", logInBody("ada@example.com", "redstart")},
		{"GET", "/", ""},
	} {
		for _, host := range []string{"evil.example:" + port, "evil.example", "localhost.evil.example:" +
			port, "127.0.0.1.evil.example:" + port, "192.0.2.1:" + port} {
			wantProblem(t, in.do(r.method, r.path, r.body, "Content-Type", "application/json", "Host", host,
				"Origin", "http://"+host), http.StatusForbidden, "this machine")
		}
		if !strings.HasPrefix(r.path, "/demo/") {
			continue
		}
		for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
			wantProblem(t, in.do(r.method, r.path, r.body, "Content-Type", "application/json", header,
				"203.0.113.1"), http.StatusForbidden, "this machine")
		}
	}
	for _, host := range []string{"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port, "localhost"} {
		wantStatus(t, in.do("POST", "/demo/redis", `{"state": "resume"}`, "Content-Type", "application/json",
			"Host", host), http.StatusOK)
	}
}
