package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/demo"
)

// The event fails three times and is then a dead letter with the error of the handler. After the
// correction it is handled.
func TestEventsStoryRedrivesADeadLetter(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for range 2 {
		var all []string
		for _, s := range decoded[[]demo.EventStep](t, in.post("/demo/events/poison", `{}`)) {
			all = append(all, fmt.Sprint(s.What, " ", s.Attempt))
			if s.What == "dead" && !strings.Contains(s.Text, "-5 g is negative") {
				t.Errorf("the cause of the dead letter is %q", s.Text)
			}
		}
		got := strings.Join(all, ", ")
		if want := "published 0, failed 1, failed 2, failed 3, dead 3, corrected 0, handled 1"; got != want {
			t.Errorf("the steps are %s, want %s", got, want)
		}
	}
}

func TestEventsStoryInAnOutage(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
	wantProblem(t, in.post("/demo/events/poison", `{}`), http.StatusServiceUnavailable, "Try again")
}
