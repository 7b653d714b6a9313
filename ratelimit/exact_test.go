package ratelimit_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

const (
	processes = 8
	quota     = 1000 // of a window that does not end during the test
	year      = 366 * 24 * time.Hour
	brisk     = 100 // per briskly
	briskly   = 400 * time.Millisecond
	briskRun  = 1200 * time.Millisecond
	leaseOf   = 10
)

// TestR1_EightProcesses has eight processes charge one key as fast as they can, with each algorithm
// and with leased GCRA. First with a quota for a year: over all processes, exactly the quota is
// admitted, on one server and in a cluster. Then, on one server, with a short window, for several
// algorithms: no window has more than the bound in the package documentation.
func TestR1_EightProcesses(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	t.Run("standalone", func(t *testing.T) {
		t.Parallel()
		eightProcesses(t, rig.Shared(t).URL(), true)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		eightProcesses(t, rig.SharedCluster(t).URL(), false)
	})
}

func eightProcesses(t *testing.T, url string, windows bool) {
	namespace := rig.Prefix(t)
	var procs []*rig.Proc
	for range processes {
		procs = append(procs, rig.Spawn(t, "hammer", map[string]string{"HAMMER_URL": url, "HAMMER_NAMESPACE": namespace}))
	}
	each := func(fn func(*rig.Proc)) {
		for _, p := range procs {
			fn(p)
		}
	}
	each(func(p *rig.Proc) {
		if line := p.Line(30 * time.Second); line != "ready" {
			t.Fatal(line)
		}
	})
	for name := range hammered(t.Context(), nil, "") {
		total := 0
		each(func(p *rig.Proc) { p.Send("quota " + name) })
		each(func(p *rig.Proc) { total += number(t, p.Line(time.Minute)) })
		switch {
		case name == "leased": // the leased tokens of the processes are charged but not admitted
			if total > quota || total < quota-processes*leaseOf {
				t.Errorf("%s: %d admitted of a quota of %d", name, total, quota)
			}
		case total != quota:
			t.Errorf("%s: %d admitted of a quota of %d", name, total, quota)
		}
		if !windows {
			continue
		}
		var admissions []admission
		each(func(p *rig.Proc) { p.Send("brisk " + name) })
		each(func(p *rig.Proc) {
			for _, line := range strings.Fields(p.Line(time.Minute)) {
				sent, received, _ := strings.Cut(line, "-")
				admissions = append(admissions, admission{int64(number(t, sent)), int64(number(t, received))})
			}
		})
		checkWindows(t, name, admissions)
	}
	each(func(p *rig.Proc) {
		if code := p.Wait(10 * time.Second); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// admission was decided between the two times, in µs.
type admission struct{ sent, received int64 }

// bounds are the bounds of the package documentation, for brisk per briskly, in a time of w
// windows.
var bounds = map[string]func(w float64) float64{
	"GCRA":          func(w float64) float64 { return brisk + brisk*w },
	"leased":        func(w float64) float64 { return brisk + brisk*w + processes*leaseOf },
	"SlidingLog":    func(w float64) float64 { return brisk * max(1, ceil1(w)) },
	"SlidingWindow": func(w float64) float64 { return 2 * brisk * max(1, ceil1(w)) },
	"FixedWindow":   func(w float64) float64 { return 2 * brisk * max(1, ceil1(w)) },
}

func ceil1(w float64) float64 {
	n := float64(int64(w))
	if w > n {
		n++
	}
	return n
}

// checkWindows counts, for windows of several lengths from each admission, the admissions that were
// certainly decided inside.
func checkWindows(t *testing.T, name string, all []admission) {
	t.Helper()
	slices.SortFunc(all, func(a, b admission) int { return int(a.sent - b.sent) })
	worst := 0.0
	for _, windows := range []float64{0.1, 0.5, 1, 2} {
		length := int64(windows * float64(briskly.Microseconds()))
		bound := bounds[name](windows)
		for i := range all {
			inside := 0
			for _, a := range all[i:] {
				if a.sent >= all[i].sent+length {
					break
				}
				if a.received < all[i].sent+length {
					inside++
				}
			}
			if float64(inside) > bound {
				t.Errorf("%s: %d admitted in %v windows, at most %v are allowed", name, inside, windows, bound)
				return
			}
			worst = max(worst, float64(inside)/bound)
		}
	}
	t.Logf("%s: %d admitted, at most %.0f %% of the bound in any window", name, len(all), 100*worst)
	if len(all) < brisk {
		t.Errorf("%s: only %d admitted in %v", name, len(all), briskRun)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hammered returns the limiters of the test. Without a client, only their names are used.
func hammered(ctx context.Context, client *redstart.Client, what string) map[string]*ratelimit.Limiter {
	rule := ratelimit.Rule{Name: "r", Limit: quota, Window: year}
	if what == "brisk" {
		rule = ratelimit.Rule{Name: "r", Limit: brisk, Window: briskly}
	}
	limiters := map[string]*ratelimit.Limiter{}
	add := func(name string, o ratelimit.Options) {
		limiters[name] = nil
		if client == nil {
			return
		}
		l, err := ratelimit.New(client, what+" "+name, o)
		if err != nil {
			panic(err)
		}
		limiters[name] = l
	}
	for _, a := range all {
		add(a.String(), ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{rule}, Outage: ratelimit.FailClosed})
	}
	leased := ratelimit.Options{Rules: []ratelimit.Rule{rule}, Outage: ratelimit.FailClosed,
		Lease: ratelimit.Lease{Batch: leaseOf}}
	add("leased", leased)
	return limiters
}

// hammer is one of the eight processes.
func hammer() {
	ctx := context.Background()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("HAMMER_URL"),
		Namespace: os.Getenv("HAMMER_NAMESPACE"), CommandTimeout: 20 * time.Second})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	limiters := map[string]map[string]*ratelimit.Limiter{"quota": hammered(ctx, client, "quota"),
		"brisk": hammered(ctx, client, "brisk")}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		what, name, _ := strings.Cut(in.Text(), " ")
		l := limiters[what][name]
		var mu sync.Mutex
		var admissions []admission
		var wg sync.WaitGroup
		until := time.Now().Add(briskRun)
		for range 8 {
			wg.Go(func() {
				// A used quota is soon denied from memory: then the quota is used up.
				for denials := 0; denials < 3 && what == "quota" || what == "brisk" && time.Now().Before(until); {
					sent := time.Now().UnixMicro()
					r, err := l.Allow(ctx, "k")
					if err != nil {
						panic(err)
					}
					if !r.Allowed {
						denials++
						if what == "brisk" {
							<-time.After(min(r.RetryAfter, 2*time.Millisecond))
						}
						continue
					}
					mu.Lock()
					admissions = append(admissions, admission{sent, time.Now().UnixMicro()})
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if what == "quota" {
			fmt.Println(len(admissions))
			continue
		}
		var line strings.Builder
		for _, a := range admissions {
			fmt.Fprintf(&line, "%d-%d ", a.sent, a.received)
		}
		fmt.Println(line.String())
	}
}
