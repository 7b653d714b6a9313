package web_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/pgtest"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

// endpoints are all endpoints with a body, each with a valid body.
var endpoints = []struct{ method, path, good string }{
	{"POST", "/api/signup", `{"email":"eve@example.com","name":"Eve","password":"correct horse"}`},
	{"POST", "/api/login", `{"email":"ada@example.com","password":"correct horse"}`},
	{"PATCH", "/api/users/1", `{"email":"eve@example.com","name":"Eve"}`},
	{"POST", "/api/orders", `{"item":"Cards","amount_cents":1}`},
	{"POST", "/demo/traffic", `{"users":1,"seconds":1}`},
	{"POST", "/demo/redis", `{"state":"stop"}`},
}

// Each malformed body and each wrong header gets the same response from every endpoint.
func TestEveryBodyIsChecked(t *testing.T) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		in, _ := startDemoOn(t, newURL(t), unlimited())
		ada := in.addUser("ada@example.com", "Ada")
		in.become(ada)
		const isJSON = "application/json"
		for _, at := range endpoints {
			open := strings.TrimSuffix(at.good, "}")
			for _, c := range []struct {
				what, method, body string
				headers            []string
				status             int
				about              string
			}{
				{"no content type", at.method, at.good, nil, 415, isJSON},
				// a form of another site can send it
				{"text", at.method, at.good, []string{"Content-Type", "text/plain"}, 415, isJSON},
				{"a form", at.method, "name=x", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, isJSON},
				{"nothing", at.method, "", []string{"Content-Type", isJSON}, 400, "empty"},
				{"half", at.method, open, []string{"Content-Type", isJSON}, 400, "not JSON"},
				{"markup", at.method, "<script>alert(1)</script>", []string{"Content-Type", isJSON}, 400, "not JSON"},
				{"two", at.method, at.good + at.good, []string{"Content-Type", isJSON}, 400, "text after"},
				{"rubbish behind", at.method, at.good + "]", []string{"Content-Type", isJSON}, 400, "not JSON"},
				{"null", at.method, "null", []string{"Content-Type", isJSON}, 400, "JSON object"},
				{"a list", at.method, "[" + at.good + "]", []string{"Content-Type", isJSON}, 400, "JSON object"},
				{"a string", at.method, `"x"`, []string{"Content-Type", isJSON}, 400, "JSON object"},
				{"a number", at.method, `1`, []string{"Content-Type", isJSON}, 400, "JSON object"},
				{"an unknown field", at.method, open + `,"admin":true}`, []string{"Content-Type", isJSON}, 400, `"admin"`},
				{"the id", at.method, open + `,"id":2}`, []string{"Content-Type", isJSON}, 400, `"id"`},
				{"a field of prototypes", at.method, open + `,"__proto__":{}}`,
					[]string{"Content-Type", isJSON}, 400, `"__proto__"`},
				{"an oversized field", at.method, open + `,"x":"` + strings.Repeat("a", 20<<10) + `"}`,
					[]string{"Content-Type", isJSON}, 413, "16384"},
				{"oversized space", at.method, at.good + strings.Repeat(" ", 20<<10),
					[]string{"Content-Type", isJSON}, 413, "16384"},
				{"another method", "PUT", at.good, []string{"Content-Type", isJSON}, 405, at.method},
				{"OPTIONS", "OPTIONS", "", nil, 405, at.method},
				{"cross-site", at.method, at.good,
					[]string{"Content-Type", isJSON, "Sec-Fetch-Site", "cross-site"}, 403, "another site"},
				{"a sister's site", at.method, at.good,
					[]string{"Content-Type", isJSON, "Sec-Fetch-Site", "same-site"}, 403, "another site"},
				{"a foreign origin", at.method, at.good,
					[]string{"Content-Type", isJSON, "Origin", "https://evil.example"}, 403, "another site"},
				{"no origin of a browser's", at.method, at.good,
					[]string{"Content-Type", isJSON, "Origin", "null"}, 403, "another site"},
				{"a lookalike", at.method, at.good,
					[]string{"Content-Type", isJSON, "Origin", in.url + ".evil.example"}, 403, "another site"},
			} {
				t.Run(at.path+" "+c.what, func(t *testing.T) {
					answer := in.do(c.method, at.path, c.body, c.headers...)
					wantProblem(t, answer, c.status, c.about)
					if c.status == http.StatusMethodNotAllowed && !strings.Contains(answer.header.Get("Allow"), at.method) {
						t.Errorf("Allow: %q", answer.header.Get("Allow"))
					}
				})
			}
			for what, body := range mistyped(t, at.good) {
				t.Run(at.path+" "+what, func(t *testing.T) {
					wantProblem(t, in.do(at.method, at.path, body, "Content-Type", isJSON),
						http.StatusBadRequest, "must not be a JSON")
				})
			}
		}
		in.wantUntouched(ada)
		sampled(t, in.live(), "no traffic, and Redis", func(s demo.Sample) bool { return s.TrafficUsers == 0 && !s.RedisStopped })
	})
}

// mistyped returns the body with the type of one field changed at a time.
func mistyped(t *testing.T, good string) map[string]string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(good), &fields); err != nil {
		t.Fatal(err)
	}
	bodies := map[string]string{}
	for name, value := range fields {
		wrong := []any{true, []any{value}, map[string]any{"$ne": value}}
		if _, text := value.(string); text {
			wrong = append(wrong, 1)
		} else {
			wrong = append(wrong, "1", 1.5, 1e30)
		}
		for _, other := range wrong {
			changed := maps.Clone(fields)
			changed[name] = other
			body, err := json.Marshal(changed)
			if err != nil {
				t.Fatal(err)
			}
			bodies[fmt.Sprintf("%s of type %T %v", name, other, other)] = string(body)
		}
	}
	return bodies
}

// wantUntouched checks that the shop has only this user, with one device.
func (in *instance) wantUntouched(user store.User) {
	in.t.Helper()
	if now, err := in.store.User(in.t.Context(), user.ID); err != nil || now != user {
		in.t.Errorf("the user is %+v, %v; was %+v", now, err, user)
	}
	if totals, err := in.store.Totals(in.t.Context()); err != nil || totals != (store.Totals{Users: 1}) {
		in.t.Errorf("the shop holds %+v, %v; want one user", totals, err)
	}
	if devices, err := in.shop.Sessions.List(in.t.Context(), shop.SessionUser(user.ID)); err != nil || len(devices) != 1 {
		in.t.Errorf("the user's devices: %+v, %v; want one", devices, err)
	}
}

// Text with a meaning in SQL, HTML, JSON or Redis is stored unchanged or refused. It is never
// executed.
func TestHostileTextAtEveryEndpoint(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		hostile := []string{
			`'); DROP TABLE orders; --`, `' OR '1'='1`, `<script>alert(1)</script>`,
			`"><img src=x onerror=alert(1)>`, `{{.}} ${x} %s %00`, "\u202egnp.exe",
			`$1; SELECT pg_sleep(9)`, `\'; \"`, `{*}:?[a-z]`,
		}
		in.takeCookie(in.post("/api/signup", signUpBody("ada@example.com")))
		for _, text := range hostile {
			quoted, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			_, path := in.order(text)
			if got := in.get(path).field(t, "item"); got != text {
				t.Errorf("the item %q came back as %q", text, got)
			}
			wantProblem(t, in.get("/api/users/"+escaped(text)), http.StatusBadRequest, "whole number")
			wantProblem(t, in.get("/api/orders/"+escaped(text)), http.StatusBadRequest, "whole number")
			wantProblem(t, in.post("/api/orders/"+escaped(text)+"/process", ""), http.StatusBadRequest, "whole number")
			wantProblem(t, in.do("DELETE", "/api/devices/"+escaped(text), ""), http.StatusNotFound, "no")
			wantProblem(t, in.get(userByEmailPath(text)), http.StatusNotFound, "no such user")
			wantProblem(t, in.post("/api/login", fmt.Sprintf(`{"email":%s,"password":%[1]s}`, quoted)),
				http.StatusUnauthorized, "no user has this")
			wantProblem(t, in.post("/api/signup", fmt.Sprintf(`{"email":%s,"name":"x","password":"correct horse"}`, quoted)),
				http.StatusUnprocessableEntity, "email")
		}
		// No database accepts a zero byte. The error of the database is not for visitors.
		for _, body := range []string{`{"email":"ada\u0000@example.com","password":"correct horse"}`,
			`{"email":"ada@example.com\u0000","password":"\u0000"}`} {
			wantProblem(t, in.post("/api/login", body), http.StatusUnauthorized, "no user has this")
		}
		wantStatus(t, in.get("/api/me"), http.StatusOK)
		if totals, err := in.store.Totals(t.Context()); err != nil || totals.Users != 1 || int(totals.Orders) != len(hostile) {
			t.Errorf("the shop holds %+v, %v", totals, err)
		}
	})
}

// escaped makes one segment of a path of any text.
func escaped(text string) string {
	var path strings.Builder
	for b := range slices.Values([]byte(text)) {
		fmt.Fprintf(&path, "%%%02X", b)
	}
	return path.String()
}
