package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/demo"
)

func windows(e demo.SessionEnd) string {
	var all []string
	for _, s := range e.Steps {
		all = append(all, s.Window+" "+s.What)
	}
	return strings.Join(all, ", ")
}

// The window of a revoked device, in another instance, is logged out.
func TestSessionStoryRevokesADevice(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for range 2 { // the second action begins without the sessions of the first
		e := decoded[demo.SessionEnd](t, in.post("/demo/session/revoke", `{}`))
		if windows(e) != "laptop login, phone login, laptop revoke, phone ended" || !e.Ended {
			t.Errorf("the steps are %s, ended %v", windows(e), e.Ended)
		}
	}
}

// The second use of a replaced remember-me token ends the session and the token of the thief.
func TestSessionStoryEndsAStolenToken(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for range 2 {
		e := decoded[demo.SessionEnd](t, in.post("/demo/session/steal", `{}`))
		if windows(e) != "laptop login, thief recalled, thief returned, laptop reused, thief ended" || !e.Ended {
			t.Errorf("the steps are %s, ended %v", windows(e), e.Ended)
		}
	}
}

// While Redis is stopped, the story is refused.
func TestSessionStoryInAnOutage(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
	wantProblem(t, in.post("/demo/session/steal", `{}`), http.StatusServiceUnavailable, "Redis does not answer")
}
