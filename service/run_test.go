package main_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/built"
)

// The first line of make run is printed before go compiles, which prints nothing.
func TestMakeRunPrintsItsFirstLineAtOnce(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer) // needs make
	bin := t.TempDir()
	const fake = "#!/bin/sh\necho started: go $*\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(fake), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	cmd := exec.Command("make", "-C", "..", "--no-print-directory", "run")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "the first time") ||
		lines[1] != "started: go run -tags demo -gcflags=all=-dwarf=false -ldflags=-w ./service --demo" {
		t.Errorf("make run prints:\n%s", out)
	}
}

// The build of make run omits modules that the page does not need.
func TestMakeRunCompilesOnlyWhatItShows(t *testing.T) {
	t.Parallel()
	for tags, want := range map[string]bool{"": true, "demo": false} {
		out, err := exec.Command("go", "list", "-deps", "-tags", tags, ".").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, module := range []string{"github.com/jackc/pgx/", "go.opentelemetry.io/",
			"github.com/prometheus/", "google.golang.org/protobuf/"} {
			if got := strings.Contains(string(out), "\n"+module); got != want {
				t.Errorf("with the tags %q the shop compiles %s: %v, want %v", tags, module, got, want)
			}
		}
	}
}

// launchDemo is launch for the binary of make run.
func launchDemo(t *testing.T, env ...string) *process {
	t.Helper()
	cmd := exec.Command(built.Demo(t), "--addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0")
	cmd.Dir, cmd.Env = t.TempDir(), append([]string{"HOME=" + t.TempDir(), "REDIS_COMMAND_TIMEOUT=5s", "DEMO=true"}, env...)
	return &process{Proc: rig.Program(t, cmd), t: t}
}

// The build of make run serves the page and accepts orders. It reports its missing parts.
func TestTheBuildOfMakeRun(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	p := launchDemo(t)
	p.serving()
	if status, page := p.get("/"); status != http.StatusOK || !strings.Contains(page, `data-source="database"`) {
		t.Errorf("the page has status %d:\n%s", status, page)
	}
	cookie := p.logIn()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/api/orders",
		strings.NewReader(`{"item":"tea","amount_cents":100}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Cookie", cookie)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != http.StatusCreated {
		t.Errorf("an order gets %s", res.Status)
	}
	_, metrics, _ := strings.Cut(p.said, "Metrics:")
	metrics, _, _ = strings.Cut(strings.TrimSpace(metrics), "\n")
	res, err = http.Get(metrics)
	if err != nil {
		t.Fatal(err)
	}
	if body := text(t, res); res.StatusCode != http.StatusNotImplemented || !strings.Contains(body, "go run ./service") {
		t.Errorf("%s responds with %s: %s", metrics, res.Status, body)
	}
	p.Signal(syscall.SIGTERM)
	if code, stderr := p.ended(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}

	code, stderr := launchDemo(t, "DATABASE_URL=postgres://shop:secret@127.0.0.1:1/shop").ended()
	if code == 0 || !strings.Contains(stderr, "go run ./service --demo") || strings.Contains(stderr, "secret") {
		t.Errorf("with PostgreSQL: exit code %d:\n%s", code, stderr)
	}
}

// Without requests the demo takes less processor time than a thread that wakes a thousand times per
// second. The thread is measured at the same time, because both costs depend on the machine.
func TestAnIdleShopIsIdle(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	p := launchDemo(t)
	p.serving()
	p.get("/")
	<-time.After(2 * time.Second) // the rest of the start
	began, before := time.Now(), processorTime(t, p.PID())
	wake := costOfWaking(t, 10*time.Second)
	thread := time.Duration(float64(wake) * 1000 * time.Since(began).Seconds())
	if shop := processorTime(t, p.PID()) - before; shop > thread {
		t.Errorf("an idle shop takes %v, a thread that wakes 1,000 times per second %v", shop, thread)
	}
}

// costOfWaking sleeps for 1 ms again and again, and returns the processor time per sleep of its
// thread.
func costOfWaking(t *testing.T, over time.Duration) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		const ofThread = 1 // RUSAGE_THREAD
		var u syscall.Rusage
		if err := syscall.Getrusage(ofThread, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began, before, n := time.Now(), used(), 0
	for ; time.Since(began) < over; n++ {
		pause := syscall.NsecToTimespec(time.Millisecond.Nanoseconds())
		_ = syscall.Nanosleep(&pause, nil) // a signal may end it early
	}
	return (used() - before) / time.Duration(n)
}

// processorTime returns the user and system time of a process. The kernel counts it in hundredths
// of a second.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])) // the name can contain spaces
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
