package chaos_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

var (
	duration = flag.Duration("for", 24*time.Second, "how long the faults last: three quarters in a cluster, one with Sentinel")
	reportTo = flag.String("report", "", "the file whose measured part is replaced")
	seed     = flag.Uint64("seed", 0, "chooses the faults; 0 is a new one, which is logged")
)

func TestMain(m *testing.M) {
	rig.RegisterRole("worker", worker)
	rig.Main(m)
}

const workers = 4

// TestChaos fails if a guarantee is violated. The guarantees and what counts as a violation are in
// docs/chaos.md.
func TestChaos(t *testing.T) {
	rig.Need(t, rig.TierAll)
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-seed=%d", *seed)
	var reports []*report
	for _, place := range []struct {
		name  string
		start func(t *testing.T) servers
		lasts time.Duration
	}{
		{"cluster, 3 primaries and 3 replicas", newCluster, *duration * 3 / 4},
		{"Sentinel, 1 primary and 2 replicas", newSentinel, *duration / 4}, // longer waits after each promotion
	} {
		t.Run(place.name, func(t *testing.T) {
			reports = append(reports, run(t, place.name, place.start(t), place.lasts))
		})
	}
	if *reportTo != "" && !t.Failed() {
		if err := write(*reportTo, reports); err != nil {
			t.Fatal(err)
		}
	}
}

// run lets the workers work on the servers while faults happen, and checks the history.
func run(t *testing.T, name string, main servers, lasts time.Duration) *report {
	random := rand.New(rand.NewPCG(*seed, 0))
	f := newField(t, main, random)
	for i := range f.procs {
		f.spawn(i)
	}
	f.awaitSuccesses("the start", time.Now(), time.Minute)

	began := time.Now()
	for time.Since(began) < lasts {
		f.next()
	}
	f.drain()
	r := f.history.check(t)
	r.name, r.seed, r.faults, r.lasted = name, *seed, f.done, time.Since(began)
	t.Logf("\n%s", r)
	return r
}
