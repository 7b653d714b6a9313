package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
)

// While Redis does not answer, pages show the last state with its age, and repairs say why they
// fail. A list that was never read has no last state.
func TestPagesShowTheLastStateDuringAnOutage(t *testing.T) {
	t.Parallel()
	engine := rig.Embedded(t)
	client := open(t, engine.URL(), "app", rigclient.Within(500*time.Millisecond))
	locker := must(lock.New(client, lock.Options{TTL: time.Minute, Process: "holder-1"}))(t)
	must(locker.Acquire(t.Context(), "invoice"))(t) // the client ends it
	s := serve(t, client, console.Options{})
	s.con.ExamineEvery(100 * time.Millisecond)
	s.get("/locks").expect(t, "before the outage", "invoice", "holder-1")
	s.examined("/", "Examined at ").expect(t, "before the outage", "All nodes answer.")
	s.examined("/server", "Read at ")

	must(0, engine.Close())(t)
	rig.Eventually(t, 20*time.Second, "the breaker opens", func() bool {
		return strings.Contains(s.get("/").body, "Redis does not answer.")
	})
	s.get("/locks").expect(t, "the outage", "invoice", "holder-1", "This is the state of", " old</strong>")
	for _, part := range []struct{ path, name, kept string }{
		{"/", "findings", "inding"}, {"/server", "findings", "inding"}, {"/server", "nodes", "PING p99"},
	} {
		rig.Eventually(t, 20*time.Second, part.path+" has the last state of its "+part.name, func() bool {
			shown := s.get(part.path).part(part.name)
			return strings.Contains(shown, "This is the state of") && strings.Contains(shown, " old</strong>") &&
				strings.Contains(shown, part.kept)
		})
	}
	s.get("/sessions").expect(t, "a page without a last state", "Redis is unavailable")
	got := s.post("/locks/break", url.Values{"name": {"invoice"}})
	if got.StatusCode != http.StatusServiceUnavailable || !strings.Contains(got.body, "Redis is unavailable") {
		t.Errorf("a repair during the outage has status %d: %s", got.StatusCode, got.body)
	}
	began := time.Now()
	s.get("/events")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a page during the outage takes %v", took)
	}
}
