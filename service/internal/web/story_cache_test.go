package web_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/demo"
)

// decoded decodes the JSON body of a successful response.
func decoded[T any](t *testing.T, a answer) (v T) {
	t.Helper()
	wantStatus(t, a, http.StatusOK)
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	return v
}

func (in *instance) storyRead(through string) demo.Reading {
	in.t.Helper()
	return decoded[demo.Reading](in.t, in.post("/demo/cache/read", `{"instance": "`+through+`"}`))
}

// pathOf returns the places and outcomes of the steps of a read.
func pathOf(r demo.Reading) string {
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.Place+" "+s.Outcome)
	}
	return strings.Join(steps, ", ")
}

// The first read comes from the database, the second from memory, and the first read of instance B
// from Redis. The times of the steps fit into the time of the read.
func TestCacheStoryShowsThePathOfARead(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for _, c := range []struct{ through, source, path string }{
		{"A", "miss", "memory miss, redis miss, database read, store stored"},
		{"A", "near", "memory hit"},
		{"B", "hit", "memory miss, redis hit"},
		{"B", "near", "memory hit"},
	} {
		r := in.storyRead(c.through)
		if r.Source != c.source || pathOf(r) != c.path || r.Instance != c.through || r.Name != "Katherine Johnson" {
			t.Errorf("a read through %s: %+v; want the source %s and the steps %s", c.through, r, c.source, c.path)
		}
		var sum float64
		for _, s := range r.Steps {
			if s.Millis < 0 {
				t.Errorf("the step %+v has a negative time", s)
			}
			sum += s.Millis
		}
		if sum > r.Millis*1.001 || sum <= 0 {
			t.Errorf("the steps take %g ms, the read %g ms", sum, r.Millis)
		}
	}
}

// A change through A ends the copy of B, and the caches of the shop have the new name too.
func TestCacheStoryEndsTheCopyOfTheOtherInstance(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	first := in.storyRead("B")
	for _, name := range []string{"Katherine Coleman", "Katherine Goble"} {
		r := decoded[demo.Renaming](t, in.post("/demo/cache/rename", `{"name": "`+name+`"}`))
		if r.Before != first.Name || r.After != name || !r.Gone || r.Pending {
			t.Errorf("the change from %q to %q: %+v", first.Name, name, r)
		}
		if first = in.storyRead("B"); first.Name != name {
			t.Errorf("B returns %q after the change to %q", first.Name, name)
		}
	}
}

// Of 100 readers of a new key in two instances, one loads, each time.
func TestCacheStoryLoadsOnceForAllReaders(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	for range 3 {
		c := decoded[demo.Crowd](t, in.post("/demo/cache/readers", `{}`))
		if c.Readers != 100 || c.Loads != 1 || c.Failed != 0 {
			t.Errorf("%+v; want 100 readers, one load, no failure", c)
		}
	}
}

// While Redis is stopped, B serves its copy, A loads, and the change is saved and pending. After
// that, B returns the new name.
func TestCacheStoryInAnOutage(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	in.storyRead("B")
	wantStatus(t, in.post("/demo/redis", `{"state": "stop"}`), http.StatusOK)

	if r := in.storyRead("A"); pathOf(r) != "memory miss, redis unavailable, database read" {
		t.Errorf("a read through A in the outage: %+v", r)
	}
	if r := in.storyRead("B"); pathOf(r) != "memory hit" {
		t.Errorf("a read through B, which has a copy, in the outage: %+v", r)
	}
	c := decoded[demo.Crowd](t, in.post("/demo/cache/readers", `{}`))
	if c.Loads != 2 || c.Failed != 0 {
		t.Errorf("%+v; want one load in each instance, and no failure", c)
	}
	r := decoded[demo.Renaming](t, in.post("/demo/cache/rename", `{"name": "Katherine Goble"}`))
	if r.After != "Katherine Goble" || !r.Pending || r.Gone || r.OldAnswers == 0 {
		t.Errorf("a change in the outage: %+v; want a saved and pending change, and old answers of B", r)
	}

	wantStatus(t, in.post("/demo/redis", `{"state": "resume"}`), http.StatusOK)
	rig.Eventually(t, 30*time.Second, "B returns the new name", func() bool { return in.storyRead("B").Name == "Katherine Goble" })
}

func TestCacheStoryRefusesBadInput(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	wantProblem(t, in.post("/demo/cache/read", `{"instance": "C"}`), http.StatusUnprocessableEntity, "A or B")
	wantProblem(t, in.post("/demo/cache/rename", `{"name": ""}`), http.StatusUnprocessableEntity, "empty")
	if name := in.storyRead("A").Name; name != "Katherine Johnson" {
		t.Errorf("the name is %q after a refused change", name)
	}
}
