package web_test

import (
	"bufio"
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
		for _, s := range decodedLines[demo.EventStep](t, in.post("/demo/events/poison", `{}`)) {
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

// Redis stops between two steps. The steps so far are there, and the last line states the problem.
func TestEventsStoryThatEndsEarly(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	res, err := http.Post(in.url+"/demo/events/poison", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"what":"published"`) {
		t.Fatalf("the first line is %q", lines.Text())
	}
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
	last := ""
	for lines.Scan() {
		last = lines.Text()
	}
	if !strings.Contains(last, `"problem":"Redis does not answer`) {
		t.Errorf("the last line is %s", last)
	}
}
