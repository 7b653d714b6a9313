package console_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
)

// The page Locks shows semaphores with their permits, read-write locks with the side of each
// holder, and elections with the leader and the candidates. The page Limits shows permits.
func TestPagesShowEachKindOfLockAndPermits(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	locker := must(lock.New(client, lock.Options{TTL: time.Minute, Process: "holder-1"}))(t)
	exports := must(locker.Semaphore("exports", 3))(t)
	reader := must(locker.Reader("catalogue"))(t)
	must(exports.Acquire(t.Context(), lock.Permits(2)))(t) // the client ends its locks
	must(reader.Acquire(t.Context()))(t)
	campaign(t, must(lock.New(client, lock.Options{TTL: time.Minute, Process: "leader-1"}))(t), true)
	campaign(t, must(lock.New(client, lock.Options{TTL: time.Minute, Process: "candidate-1"}))(t), false)
	jobs := must(ratelimit.NewConcurrency(client, "jobs", ratelimit.ConcurrencyOptions{Limit: 2, TTL: time.Minute}))(t)
	must(jobs.Acquire(t.Context(), "ada"))(t)

	s := serve(t, client, console.Options{})
	s.get("/locks").expect(t, "locks", "exports", "semaphore", "catalogue", "read-write", "nightly", "mutex")
	semaphore := "/locks" + query("name", "exports", "kind", "semaphore")
	s.get(semaphore).expect(t, "semaphore", "holder-1", "2 permits")
	s.get("/locks"+query("name", "catalogue", "kind", "read-write")).expect(t, "read-write lock", "holder-1", "reader")
	rig.Eventually(t, 20*time.Second, "the candidate waits", func() bool {
		info, err := locker.Inspect(t.Context(), "nightly")
		return err == nil && info.Waiting == 1
	})
	s.get("/locks"+query("name", "nightly")).expect(t, "election", "leader-1", "candidate-1", "waits ")
	permits := "/limits" + query("limiter", "jobs", "key", "ada")
	s.get(permits).expect(t, "permits", "<dt>Permits</dt><dd>1, first ends in", "End permits")

	for path, form := range map[string][]string{
		"/locks/break":        {"name", "exports", "kind", "semaphore"},
		"/limits/end-permits": {"limiter", "jobs", "key", "ada"},
	} {
		if got := s.post(path, sealed(form...)); got.StatusCode != http.StatusSeeOther {
			t.Errorf("POST %s has status %d: %s", path, got.StatusCode, got.body)
		}
	}
	s.get(semaphore).expect(t, "semaphore", "No process holds this lock.")
	s.get(permits).expect(t, "permits", "<dt>Permits</dt><dd>none")
}

// campaign campaigns in the election nightly until the test ends. If the process is the first, the
// function waits until it leads.
func campaign(t *testing.T, locker *lock.Locker, first bool) {
	t.Helper()
	election := must(locker.Election("nightly"))(t)
	ctx, stop := context.WithCancel(context.Background())
	leads, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = election.Campaign(ctx, func(ctx context.Context, _ *lock.Lock) error {
			close(leads)
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(func() { stop(); <-done })
	if first {
		<-leads
	}
}
