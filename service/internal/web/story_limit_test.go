package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/demo"
)

// take sends requests of a plan and returns the number of 200 and of 429.
func (in *instance) take(plan string, n int) (served, refused int) {
	in.t.Helper()
	for range n {
		switch a := in.post("/demo/limit/request?plan="+plan, `{}`); a.status {
		case http.StatusOK:
			served++
		case http.StatusTooManyRequests:
			refused++
			if a.header.Get("Retry-After") == "" {
				in.t.Error("a 429 has no Retry-After")
			}
		default:
			in.t.Errorf("status %d: %s", a.status, a.body)
		}
	}
	return served, refused
}

// The plan "free" is refused after its limit, and the plan "pro" is not. The counts of the story
// add up to all requests, and most refused requests did not reach Redis.
func TestLimitStoryRefusesAboveTheLimit(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	first := in.post("/demo/limit/request?plan=free", `{}`)
	for _, field := range []string{"Ratelimit", "Ratelimit-Policy"} {
		if !strings.HasPrefix(first.header.Get(field), `"free";`) {
			t.Errorf("%s is %q, want the rule free", field, first.header.Get(field))
		}
	}
	served, refused := in.take("free", 39)
	if served < 9 || refused == 0 {
		t.Errorf("of 39 requests %d were served and %d refused; want at least 9 served, and some refused", served, refused)
	}
	proServed, proRefused := in.take("pro", 20)
	if proRefused != 0 {
		t.Errorf("%d requests of the plan pro were refused", proRefused)
	}

	c := decoded[demo.LimitCounts](t, in.get("/demo/limit"))
	if c.Allowed != int64(1+served+proServed) || c.Refused+c.Locally != int64(refused) || c.Locally <= c.Refused || c.Degraded != 0 {
		t.Errorf("the counts are %+v; want %d allowed, %d refused, most of them from memory", c, 1+served+proServed, refused)
	}
}

// While Redis is stopped, requests pass without a limit and without headers.
func TestLimitStoryInAnOutage(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
	if served, refused := in.take("free", 30); served != 30 || refused != 0 {
		t.Errorf("of 30 requests %d were served and %d refused, want all served", served, refused)
	}
	a := in.post("/demo/limit/request?plan=free", `{}`)
	if a.status != http.StatusOK || a.header.Get("Ratelimit") != "" {
		t.Errorf("status %d with RateLimit %q, want 200 without the field", a.status, a.header.Get("Ratelimit"))
	}
	if c := decoded[demo.LimitCounts](t, in.get("/demo/limit")); c.Degraded != 31 {
		t.Errorf("the counts are %+v, want 31 without a limit", c)
	}
}
