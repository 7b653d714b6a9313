package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/demo"
)

// lockRun is a run of the lock story: its steps, and the instance whose write is stored.
type lockRun struct {
	Steps   []demo.LockStep
	Written string
}

func (in *instance) storyRun(body string) (r lockRun) {
	in.t.Helper()
	lines := decodedLines[struct {
		demo.LockStep
		Written *string `json:"written"`
	}](in.t, in.post("/demo/lock/run", body))
	for _, line := range lines {
		if line.Written != nil {
			r.Written = *line.Written
		} else {
			r.Steps = append(r.Steps, line.LockStep)
		}
	}
	return r
}

// decodedLines decodes a successful response with one JSON value in each line.
func decodedLines[T any](t *testing.T, a answer) (all []T) {
	t.Helper()
	wantStatus(t, a, http.StatusOK)
	for line := range strings.Lines(a.body) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		all = append(all, v)
	}
	return all
}

// lockSteps returns the instances and what they did, and the tokens of B and of A.
func lockSteps(r lockRun) (list string, b, a int64) {
	var all []string
	for _, s := range r.Steps {
		all = append(all, s.Instance+" "+s.What)
		if s.What == "holds" && s.Instance == "A" {
			a = s.Token
		} else if s.What == "holds" {
			b = s.Token
		}
	}
	return strings.Join(all, ", "), b, a
}

// B holds the lock while A waits. Then A holds it with a greater token, and both writes are
// accepted in the order of their tokens.
func TestLockStoryWaitsForTheHolder(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	r := in.storyRun(`{"pause": false}`)
	list, b, a := lockSteps(r)
	// B's release notifies A, so A may hold the lock before B adds its step.
	if list != "B holds, A waits, B written, A holds, A written" && list != "B holds, A waits, A holds, B written, A written" {
		t.Errorf("the steps are %s", list)
	}
	if b <= 0 || a <= b || r.Written != "A" {
		t.Errorf("token %d of B, token %d of A, the write of %q is stored; want a greater token of A and its write", b, a, r.Written)
	}
}

// B is cut off from Redis while it holds the lock. A gets the lock when the lease has ended, and
// writes. The later write of B is refused, each time.
func TestLockStoryRefusesTheWriteOfAPausedHolder(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for range 2 {
		r := in.storyRun(`{"pause": true}`)
		list, b, a := lockSteps(r)
		if list != "B holds, A waits, B paused, A holds, A written, B resumed, B refused" {
			t.Errorf("the steps are %s", list)
		}
		if b <= 0 || a <= b || r.Written != "A" {
			t.Errorf("token %d of B, token %d of A, the write of %q is stored; want a greater token of A and its write", b, a, r.Written)
		}
	}
}

// While Redis is stopped, no instance gets the lock, and both return an error.
func TestLockStoryInAnOutage(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
	r := in.storyRun(`{"pause": false}`)
	if list, _, _ := lockSteps(r); list != "B unavailable, A waits, A unavailable" || r.Written != "" {
		t.Errorf("the steps are %s, the write of %q is stored", list, r.Written)
	}
}

// Redis stops while B is paused with the lock. Its write gets no answer, and is not shown as
// refused: Redis refuses a write only after the write of a later holder.
func TestLockStoryWithAnOutageOfTheHolder(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for attempt := range 3 {
		steps := in.openStory(`{"pause": true}`)
		var all []string
		for steps.Scan() && !strings.Contains(steps.Text(), `"problem"`) {
			var s demo.LockStep
			if err := json.Unmarshal(steps.Bytes(), &s); err != nil {
				t.Fatal(err)
			}
			if all = append(all, s.Instance+" "+s.What); s.What == "paused" {
				wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)
			}
		}
		wantStatus(t, in.post("/demo/redis", `{"state": "resume"}`), http.StatusOK)
		list := strings.Join(all, ", ")
		if strings.Contains(list, "A holds") {
			t.Logf("attempt %d: the lease of B ended before Redis stopped: %s", attempt, list)
			continue
		}
		if list != "B holds, A waits, B paused, A unavailable, B resumed, B unanswered" {
			t.Errorf("the steps are %s", list)
		}
		return
	}
	t.Error("Redis never stopped within the lease")
}

// openStory starts a run, and returns its lines as they arrive.
func (in *instance) openStory(body string) *bufio.Scanner {
	in.t.Helper()
	response, err := http.Post(in.url+"/demo/lock/run", "application/json", strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { response.Body.Close() })
	return bufio.NewScanner(response.Body)
}

// A visitor who closes the page during a story is no error: the log of the demo stays empty.
func TestStoryOfAClosedPageIsNoError(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	ctx, closePage := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, in.url+"/demo/lock/run", strings.NewReader(`{"pause": false}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil { // the story has begun
		t.Fatal(err)
	}
	closePage()
	in.storyRun(`{"pause": false}`) // waits for the end of the story before
	if log := in.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log has %s", log)
	}
}
