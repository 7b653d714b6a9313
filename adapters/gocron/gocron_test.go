package redstartgocron_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/google/uuid"

	redstartgocron "github.com/redstart-go/redstart/adapters/gocron"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
)

func TestMain(m *testing.M) { rig.Main(m) }

// open returns a Locker of a new client.
func open(t testing.TB, url string) *lock.Locker {
	t.Helper()
	locker, err := lock.New(rigclient.Open(t, url, "app"), lock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

// start starts a scheduler with one job.
func start(t testing.TB, every time.Duration, task func(), option gocron.SchedulerOption, options ...gocron.JobOption) gocron.Scheduler {
	t.Helper()
	s, err := gocron.NewScheduler(option, gocron.WithStopTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	options = append(options, gocron.WithName("job"), gocron.WithStartAt(gocron.WithStartImmediately()))
	if _, err = s.NewJob(gocron.DurationJob(every), gocron.NewTask(task), options...); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// While one scheduler runs a job, the other skips its run with ErrNotAcquired.
func TestLockerExcludesASecondRun(t *testing.T) {
	t.Parallel()
	url := rig.Embedded(t).URL()
	began, end := make(chan struct{}), make(chan struct{})
	skipped := make(chan error, 1)
	first, err1 := redstartgocron.NewLocker(open(t, url), 0)
	second, err2 := redstartgocron.NewLocker(open(t, url), 0)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	start(t, time.Hour, func() { close(began); <-end }, gocron.WithDistributedLocker(first))
	<-began
	start(t, time.Hour, func() { t.Error("the job ran twice") }, gocron.WithDistributedLocker(second),
		gocron.WithEventListeners(gocron.AfterLockError(func(_ uuid.UUID, _ string, err error) { skipped <- err })))
	if err := <-skipped; !errors.Is(err, lock.ErrNotAcquired) {
		t.Errorf("the second scheduler got %v, want ErrNotAcquired", err)
	}
	close(end)
}

// A lock is held for minHold after a short job. Without minHold, it is released with the job. The
// shutdown of the scheduler ends the wait.
func TestLockerHoldsALockForItsMinimum(t *testing.T) {
	t.Parallel()
	url := rig.Embedded(t).URL()
	other := open(t, url)
	for _, minHold := range []time.Duration{0, time.Hour} {
		l, err := redstartgocron.NewLocker(open(t, url), minHold)
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan struct{})
		s := start(t, time.Hour, func() {}, gocron.WithDistributedLocker(l),
			gocron.WithEventListeners(gocron.AfterJobRuns(func(uuid.UUID, string) { close(ran) })))
		<-ran
		if minHold > 0 {
			for range 50 { // the time in which a Locker without minHold releases its lock
				if err := other.Do(t.Context(), "control", func(context.Context, *lock.Lock) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := other.TryAcquire(t.Context(), "job"); !errors.Is(err, lock.ErrNotAcquired) {
				t.Errorf("after a short job: %v, want ErrNotAcquired", err)
			}
			if err := s.StopJobs(); err != nil {
				t.Error(err)
			}
		}
		held, err := other.Acquire(t.Context(), "job")
		if err != nil {
			t.Fatalf("minHold %v: %v", minHold, err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A lock that was lost while a job ran is ErrLost, without a wait for minHold.
func TestUnlockReportsALostLock(t *testing.T) {
	t.Parallel()
	server := rig.Embedded(t)
	locker, err := lock.New(rigclient.Open(t, server.URL(), "app"), lock.Options{TTL: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l, err := redstartgocron.NewLocker(locker, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	run, err := l.Lock(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	info, err := locker.Inspect(t.Context(), "job")
	if err != nil || len(info.Holders) != 1 {
		t.Fatalf("%v, %v", info, err)
	}
	if broken, err := locker.Break(t.Context(), "job", info.Holders[0]); !broken || err != nil {
		t.Fatalf("%v, %v", broken, err)
	}
	if err := run.Unlock(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
}

// At the shutdown of a scheduler, the context of Unlock has ended. Unlock releases the lock all the
// same, and returns after it.
func TestUnlockAtShutdown(t *testing.T) {
	t.Parallel()
	l, err := redstartgocron.NewLocker(open(t, rig.Embedded(t).URL()), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ctx, shutdown := context.WithCancel(t.Context())
	shutdown()
	for range 3 {
		run, err := l.Lock(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Unlock(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestNewLockerNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	if l, err := redstartgocron.NewLocker(nil, 0); l != nil || err == nil {
		t.Error("a nil locker was accepted")
	}
	if l, err := redstartgocron.NewLocker(open(t, rig.Embedded(t).URL()), -1); l != nil || err == nil {
		t.Error("a negative minHold was accepted")
	}
}

// The scheduler of the leader runs the job, the other does not. When the leader closes, the other
// is elected. A process that resigns campaigns again.
func TestElector(t *testing.T) {
	t.Parallel()
	url := rig.Embedded(t).URL()
	var electors [2]*redstartgocron.Elector
	var runs [2]atomic.Int64
	for i := range electors {
		election, err := open(t, url).Election("jobs")
		if err != nil {
			t.Fatal(err)
		}
		electors[i] = redstartgocron.NewElector(election)
		t.Cleanup(electors[i].Close)
		if i == 0 {
			rig.Eventually(t, 10*time.Second, "the first leads", func() bool { return electors[0].IsLeader(t.Context()) == nil })
			resigned := electors[0].Held().Token()
			if err := election.Resign(t.Context()); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, 10*time.Second, "the first leads again", func() bool {
				held := electors[0].Held()
				return held != nil && held.Token() > resigned
			})
		}
		start(t, 10*time.Millisecond, func() { runs[i].Add(1) }, gocron.WithDistributedElector(electors[i]))
	}
	rig.Eventually(t, 10*time.Second, "runs of the leader", func() bool { return runs[0].Load() >= 20 })
	err := electors[1].IsLeader(t.Context())
	if !errors.Is(err, redstartgocron.ErrNotLeader) || electors[1].Held() != nil || runs[1].Load() != 0 {
		t.Errorf("the second: %v, and %d runs", err, runs[1].Load())
	}

	electors[0].Close() // it waits for the end of the term
	if err := electors[0].IsLeader(t.Context()); !errors.Is(err, redstartgocron.ErrNotLeader) {
		t.Errorf("the first after Close: %v", err)
	}
	rig.Eventually(t, 10*time.Second, "runs of the second", func() bool { return runs[1].Load() > 0 })
}
