package ratelimit_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/redstart-go/redstart/ratelimit"
)

// item is one policy of a field.
type item struct {
	name   string
	params map[string]int64
}

// readField parses a List of Strings with integer parameters, with a parser of RFC 9651.
func readField(t *testing.T, h http.Header, name string) (all []item) {
	t.Helper()
	list, err := httpsfv.UnmarshalList(h.Values(name))
	if err != nil {
		t.Fatalf("%s: %q: %v", name, h.Values(name), err)
	}
	for _, member := range list {
		one, is := member.(httpsfv.Item)
		text, isText := one.Value.(string)
		if !is || !isText {
			t.Fatalf("%s: %q: %v is no String", name, h.Values(name), member)
		}
		read := item{text, map[string]int64{}}
		for _, key := range one.Params.Names() {
			value, _ := one.Params.Get(key)
			n, is := value.(int64)
			if !is || n < 0 {
				t.Fatalf("%s: %q: %s=%v", name, h.Values(name), key, value)
			}
			read.params[key] = n
		}
		all = append(all, read)
	}
	return all
}

// fields parses both fields. It fails unless each item of RateLimit has a policy, occurs once, and
// has r at most q.
func fields(t *testing.T, h http.Header) map[string]map[string]int64 {
	t.Helper()
	policies := map[string]map[string]int64{}
	for _, p := range readField(t, h, "RateLimit-Policy") {
		if policies[p.name] != nil {
			t.Errorf("two policies %q: %v", p.name, h)
		}
		policies[p.name] = p.params
	}
	listed := map[string]bool{}
	for _, l := range readField(t, h, "RateLimit") {
		policy := policies[l.name]
		if policy == nil || listed[l.name] || l.params["r"] > policy["q"] {
			t.Errorf("%q: %v of policy %v, listed before: %v", l.name, l.params, policy, listed[l.name])
			continue
		}
		listed[l.name] = true
		for key, n := range l.params {
			policy[key] = n
		}
	}
	return policies
}

// serve sends one request and returns the response.
func serve(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w
}

// The last allowed answer and the next refusal agree on what remains and when more is available.
func TestFieldsAgreeWithTheNextAnswer(t *testing.T) {
	t.Parallel()
	client := shared(t)
	for _, a := range all {
		t.Run(a.String(), func(t *testing.T) {
			t.Parallel()
			l, err := ratelimit.New(client, "fields "+a.String(), ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{
				{Name: "few", Limit: 3, Window: 50 * time.Hour}, {Name: "many", Limit: 1000, Window: 300 * time.Hour},
			}})
			if err != nil {
				t.Fatal(err)
			}
			handler := l.Middleware(ratelimit.ClientAddress())(ok)
			var last map[string]map[string]int64
			for i := range int64(3) {
				w := serve(handler)
				last = fields(t, w.Header())
				if w.Code != 200 || last["few"]["r"] != 2-i || last["many"]["r"] != 999-i ||
					last["few"]["q"] != 3 || last["few"]["w"] != 50*3600 {
					t.Fatalf("call %d: %d %v", i, w.Code, w.Header())
				}
			}
			for range 2 { // from Redis, and from memory
				w := serve(handler)
				got := fields(t, w.Header())
				if near := got["few"]["t"] - last["few"]["t"]; w.Code != 429 || got["few"]["r"] != 0 ||
					last["few"]["t"] == 0 || near > 0 || near < -30 {
					t.Errorf("the last allowed said %v, the refusal says %v", last["few"], got["few"])
				}
				if w.Header().Get("Retry-After") != fmt.Sprint(got["few"]["t"]) {
					t.Errorf("Retry-After %s, %v", w.Header().Get("Retry-After"), got["few"])
				}
			}
		})
	}
}

// A burst above the limit is announced as the quota of the time in which it refills.
func TestFieldsNeverExceedTheQuota(t *testing.T) {
	t.Parallel()
	l := limiter(t, shared(t), ratelimit.Options{Rules: []ratelimit.Rule{{Name: "r", Limit: 10,
		Window: time.Hour, Burst: 25}, {Name: "s", Limit: 1000, Window: time.Hour, Burst: 30}}})
	handler := l.Middleware(ratelimit.ClientAddress())(ok)
	for i := range int64(25) {
		got := fields(t, serve(handler).Header())
		if r := got["r"]; r["q"] != 25 || r["w"] != 9000 || r["r"] != 24-i || r["t"] < 358 || r["t"] > 360 {
			t.Fatalf("call %d: %v", i, r)
		}
		if s := got["s"]; s["q"] != 1000 || s["w"] != 3600 || s["r"] > 30 {
			t.Fatalf("call %d: %v", i, s)
		}
	}
}

// Nested middlewares, and fields of other handlers, add up to one list.
func TestFieldsOfStackedMiddlewares(t *testing.T) {
	t.Parallel()
	client := shared(t)
	rules := []ratelimit.Rule{{Limit: 5, Window: 100 * time.Hour}, {Name: "day", Limit: 90, Window: 240 * time.Hour}}
	var handler http.Handler = ok
	for _, name := range []string{"per address", "пользователь", "per address", "tenant"} {
		l, err := ratelimit.New(client, name, ratelimit.Options{Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		handler = l.Middleware(ratelimit.By(func(*http.Request) string { return name }))(handler)
	}
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("RateLimit-Policy", `"proxy";q=7;w=1`)
		w.Header().Add("RateLimit", `"proxy";r=6`)
		handler.ServeHTTP(w, r)
	})
	w := serve(outer)
	got := fields(t, w.Header())
	if len(got) != 9 || got["proxy"]["r"] != 6 || got["5/100h"]["r"] != 4 || got["day"]["r"] != 89 {
		t.Errorf("%v", w.Header())
	}
	for range 2 {
		w = serve(outer) // the two with the same name and key share their count
	}
	if w.Code != 429 {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	got = fields(t, w.Header())
	var problem struct {
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || len(problem.Violated) != 1 ||
		got[problem.Violated[0]] == nil || got[problem.Violated[0]]["r"] != 0 {
		t.Errorf("%v names a policy that is not among %v", problem.Violated, got)
	}
}

// Any bytes in the name of a rule or limiter are Strings of a structured field, also after any
// list.
func FuzzFields(f *testing.F) {
	f.Add("api", "burst", int64(10), int64(60), int64(0))
	f.Add("a\"é\x00", `a"b\c`, int64(1), int64(1), int64(3))
	f.Fuzz(func(t *testing.T, limiter, name string, limit, window, burst int64) {
		rule := ratelimit.Rule{Name: name, Limit: limit, Window: time.Duration(window) * time.Millisecond, Burst: burst}
		h := http.Header{}
		for range 3 {
			if err := ratelimit.SetFields(h, limiter, rule,
				ratelimit.Result{Remaining: max(limit, burst), NextAfter: 3 * time.Second}); err != nil {
				return
			}
		}
		got := fields(t, h)
		if len(got) != 3 || name != "" && got[name] == nil {
			t.Fatalf("%q became %v", name, h)
		}
		for listed, p := range got {
			if p["w"] < 1 || p["q"] < limit || p["t"] != 3 || name != "" && !strings.Contains(listed, name) {
				t.Fatalf("%q became %v", name, h)
			}
		}
	})
}
