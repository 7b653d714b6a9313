package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/requestid"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

func (in *instance) post(path, body string) answer {
	in.t.Helper()
	return in.do("POST", path, body, "Content-Type", "application/json")
}

// takeCookie stores the session cookie of a response, as a browser does.
func (in *instance) takeCookie(a answer) string {
	in.t.Helper()
	for _, line := range a.header.Values("Set-Cookie") {
		cookie, err := http.ParseSetCookie(line)
		if err != nil {
			in.t.Fatal(err)
		}
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
			in.t.Errorf("the cookie %s is not HttpOnly and SameSite=Lax", line)
		}
		in.cookie = cookie.Name + "=" + cookie.Value
	}
	return in.cookie
}

func signUpBody(email string) string {
	return fmt.Sprintf(`{"email":%q,"name":"Ada","password":"correct horse"}`, email)
}

func logInBody(email, password string) string {
	return fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)
}

// Two instances share their sessions.
func TestSessionsHoldAtEveryInstance(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		// The cache remembers that there is no such user. The sign-up deletes this entry.
		wantProblem(t, b.get(userPath(1)), http.StatusNotFound, "no such user")
		wantProblem(t, a.get("/api/me"), http.StatusUnauthorized, "log in")

		signed := a.post("/api/signup", signUpBody("Ada@Example.com"))
		wantStatus(t, signed, http.StatusCreated)
		if strings.Contains(signed.body, "argon2") || signed.field(t, "plan") != store.PlanFree ||
			signed.field(t, "email") != "ada@example.com" {
			t.Errorf("sign-up answers %s", signed.body)
		}
		b.cookie = a.takeCookie(signed)
		wantStatus(t, b.get(userByEmailPath("ada@example.com")), http.StatusOK)
		wantStatus(t, b.get(userPath(1)), http.StatusOK)
		for _, in := range []*instance{a, b} {
			me := in.get("/api/me")
			wantStatus(t, me, http.StatusOK)
			if me.field(t, "email") != "ada@example.com" || me.field(t, "plan") != store.PlanFree {
				t.Errorf("me answers %s", me.body)
			}
		}

		// A second login on another device. The first device lists and revokes it, at every
		// instance.
		phone := *b
		phone.cookie = ""
		logged := phone.do("POST", "/api/login", logInBody("ada@example.com", "correct horse"),
			"Content-Type", "application/json", "User-Agent", "phone")
		wantStatus(t, logged, http.StatusOK)
		phone.takeCookie(logged)
		wantStatus(t, phone.get("/api/me"), http.StatusOK)

		devices := a.deviceList()
		if len(devices) != 2 || devices[0].UserAgent != "phone" || devices[0].Current ||
			!devices[1].Current || devices[0].Address != "127.0.0.1" {
			t.Fatalf("devices: %+v", devices)
		}
		wantStatus(t, a.do("DELETE", "/api/devices/"+devices[0].ID, ""), http.StatusNoContent)
		wantProblem(t, phone.get("/api/me"), http.StatusUnauthorized, "log in")
		wantProblem(t, a.do("DELETE", "/api/devices/"+devices[0].ID, ""), http.StatusNotFound, "no")
		wantStatus(t, b.get("/api/me"), http.StatusOK)

		// A logout at one instance is a logout at the other instance.
		wantStatus(t, a.post("/api/logout", ""), http.StatusNoContent)
		wantProblem(t, b.get("/api/me"), http.StatusUnauthorized, "log in")
		wantStatus(t, b.post("/api/logout", ""), http.StatusNoContent) // a second logout is no error
	})
}

type deviceOf struct {
	ID        string
	Current   bool
	UserAgent string `json:"user_agent"`
	Address   string
}

func (in *instance) deviceList() (list []deviceOf) {
	in.t.Helper()
	devices := in.get("/api/devices")
	wantStatus(in.t, devices, http.StatusOK)
	if err := json.Unmarshal([]byte(devices.body), &list); err != nil {
		in.t.Fatal(err)
	}
	return list
}

func TestLoginChangesTheToken(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		before := in.takeCookie(in.post("/api/signup", signUpBody("ada@example.com")))
		after := in.takeCookie(in.post("/api/login", logInBody("ada@example.com", "correct horse")))
		if before == after {
			t.Error("a login kept the token")
		}
		in.cookie = before
		wantProblem(t, in.get("/api/me"), http.StatusUnauthorized, "log in")
	})
}

func TestRevokeOthersKeepsThisDevice(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada, grace := in.addUser("ada@example.com", "Ada"), in.addUser("grace@example.com", "Grace")
		other := in.become(ada).cookie
		hers := in.become(grace).cookie
		in.become(ada)
		wantStatus(t, in.do("DELETE", "/api/devices", ""), http.StatusNoContent)
		wantStatus(t, in.get("/api/me"), http.StatusOK)
		in.cookie = other
		wantProblem(t, in.get("/api/me"), http.StatusUnauthorized, "log in")
		in.cookie = hers
		wantStatus(t, in.get("/api/me"), http.StatusOK)
	})
}

func TestADeletedUserIsLoggedOut(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada := in.addUser("ada@example.com", "Ada")
		other := in.become(ada).cookie
		in.become(ada)
		wantStatus(t, in.do("DELETE", userPath(ada.ID), ""), http.StatusNoContent)
		for _, cookie := range []string{in.cookie, other} {
			in.cookie = cookie
			wantProblem(t, in.get("/api/me"), http.StatusUnauthorized, "log in")
		}
	})
}

func TestWrongLoginsAreAllTheSame(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		wantStatus(t, in.post("/api/signup", signUpBody("ada@example.com")), http.StatusCreated)
		try := func(body string) answer {
			return in.do("POST", "/api/login", body, "Content-Type", "application/json", requestid.Header, "the-same")
		}
		wrong, unknown := try(logInBody("ada@example.com", "incorrect horse")), try(logInBody("eve@example.com", "correct horse"))
		wantProblem(t, wrong, http.StatusUnauthorized, "no user has this")
		if unknown.status != wrong.status || unknown.body != wrong.body {
			t.Errorf("an unknown address answers %d %s, a wrong password %d %s", unknown.status, unknown.body,
				wrong.status, wrong.body)
		}
		if len(wrong.header.Values("Set-Cookie")) > 0 {
			t.Error("a failed login sets a cookie")
		}
	})
}

func TestForgedCookiesAreVisitors(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		real := in.become(in.addUser("ada@example.com", "Ada")).cookie
		name, token, _ := strings.Cut(real, "=")
		for what, cookie := range map[string]string{
			"an altered last letter":  real[:len(real)-1] + string(real[len(real)-1]^1),
			"an altered first letter": name + "=" + string(token[0]^1) + token[1:],
			"half a token":            real[:len(real)-20],
			"an id":                   name + "=" + in.deviceList()[0].ID,
			"nothing":                 name + "=",
			"a wildcard":              name + "=*",
			"markup":                  name + "=<script>",
			"much":                    name + "=" + strings.Repeat("A", 8000),
		} {
			in.cookie = cookie
			if cookie == real {
				t.Fatalf("%s is the real cookie", what)
			}
			answer := in.get("/api/me")
			wantProblem(t, answer, http.StatusUnauthorized, "log in")
			if got := answer.header.Values("Set-Cookie"); len(got) > 0 {
				t.Errorf("%s begins a session: %q", what, got)
			}
		}
		in.cookie = real
		wantStatus(t, in.get("/api/me"), http.StatusOK)
	})
}

func TestLoginsAreLimited(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		limits := shop.DefaultLimits()
		limits.LoginByAddress = []ratelimit.Rule{{Limit: 8, Window: time.Hour}}
		limits.LoginByPair = []ratelimit.Rule{{Limit: 2, Window: time.Hour}}
		a := startWith(t, redis, database, shop.Options{Limits: &limits})
		b := startWith(t, redis, database, shop.Options{Limits: &limits})
		wantStatus(t, a.post("/api/signup", signUpBody("ada@example.com")), http.StatusCreated) // 1 of the 8 of this address

		// Per account: after two wrong attempts at any instance, even the correct password is
		// refused.
		wantStatus(t, a.post("/api/login", logInBody("ada@example.com", "wrong")), http.StatusUnauthorized)
		// a success resets the count
		wantStatus(t, a.post("/api/login", logInBody("ADA@example.com", "correct horse")), http.StatusOK)
		wantStatus(t, a.post("/api/login", logInBody("ada@example.com", "wrong")), http.StatusUnauthorized)
		wantStatus(t, b.post("/api/login", logInBody("ada@example.com ", "wrong")), http.StatusUnauthorized)
		refused := b.post("/api/login", logInBody("Ada@example.com", "correct horse")) // 6
		wantProblem(t, refused, http.StatusTooManyRequests, "too many login attempts")
		if refused.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		// Per address, for any account.
		wantStatus(t, a.post("/api/login", logInBody("1@example.com", "wrong")), http.StatusUnauthorized)
		wantStatus(t, b.post("/api/login", logInBody("2@example.com", "wrong")), http.StatusUnauthorized)
		wantProblem(t, a.post("/api/login", logInBody("3@example.com", "wrong")), http.StatusTooManyRequests,
			"too many login attempts")
		wantProblem(t, b.post("/api/signup", signUpBody("4@example.com")), http.StatusTooManyRequests, "too many login attempts")
	})
}

func TestTheAPIIsLimitedByUserAndPlan(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		limits := shop.DefaultLimits()
		limits.Free = []ratelimit.Rule{{Limit: 3, Window: time.Hour}}
		limits.Pro = []ratelimit.Rule{{Limit: 6, Window: time.Hour}}
		a := startWith(t, redis, database, shop.Options{Limits: &limits})
		b := startWith(t, redis, database, shop.Options{Limits: &limits})
		free, pro := a.addUser("ada@example.com", "Ada"), a.addUser("grace@example.com", "Grace")
		pro.Plan = store.PlanPro
		for _, c := range []struct {
			user  store.User
			limit int
		}{{free, 3}, {pro, 6}} {
			a.become(c.user)
			b.cookie = a.cookie
			for n := range c.limit {
				answer := []*instance{a, b}[n%2].get("/api/me")
				wantStatus(t, answer, http.StatusOK)
				if answer.header.Get("RateLimit") == "" ||
					!strings.Contains(answer.header.Get("RateLimit-Policy"), fmt.Sprint("q=", c.limit)) {
					t.Errorf("%s: RateLimit %q, RateLimit-Policy %q", c.user.Name,
						answer.header.Get("RateLimit"), answer.header.Get("RateLimit-Policy"))
				}
			}
			for _, in := range []*instance{a, b} {
				answer := in.get("/api/me")
				wantStatus(t, answer, http.StatusTooManyRequests)
				if answer.header.Get("Content-Type") != "application/problem+json" ||
					answer.header.Get("Retry-After") == "" || !strings.Contains(answer.body, "quota") {
					t.Errorf("refused with %v %s", answer.header, answer.body)
				}
				wantStatus(t, in.get("/livez"), http.StatusOK)
				wantStatus(t, in.get("/"), http.StatusOK) // the page is not the API
			}
		}
	})
}
