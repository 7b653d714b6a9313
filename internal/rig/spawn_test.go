package rig_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestSpawn(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "echo", map[string]string{"GREETING": "hello"})
	if got := p.Line(10 * time.Second); got != "hello" {
		t.Fatalf("first line %q", got)
	}
	p.Send("one")
	if got := p.Line(10 * time.Second); got != "echo one" {
		t.Fatalf("second line %q", got)
	}
	p.Stop()
	p.Send("two")
	select {
	case line := <-p.Lines():
		t.Fatalf("a stopped process printed %q", line)
	case <-time.After(50 * time.Millisecond):
	}
	p.Continue()
	if got := p.Line(10 * time.Second); got != "echo two" {
		t.Fatalf("third line %q", got)
	}
	if code := p.Wait(10 * time.Second); code != 3 {
		t.Fatalf("exit code %d", code)
	}
	if got := p.Stderr(); got != "end of input\n" {
		t.Fatalf("stderr %q", got)
	}
}

func TestSpawnKill(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "flood", nil) // prints more than the test reads
	p.Line(10 * time.Second)
	p.Kill()
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("process %d after Kill: %v", p.PID(), err)
	}
	if code := p.Wait(time.Second); code != -1 {
		t.Fatalf("exit code %d", code)
	}
}

// nested runs this test binary again as a test process with rig.Main, for one test.
func nested() {
	os.Unsetenv("REDSTART_RIG_ROLE")
	args := []string{os.Args[0], "-test.v", "-test.run=^" + os.Getenv("RIG_TEST_RUN") + "$"}
	panic(syscall.Exec(os.Args[0], args, os.Environ()))
}

// TestStartsOneServer also runs nested: one test kills it while its server runs, another runs it
// without redis-server on PATH.
func TestStartsOneServer(t *testing.T) {
	s := rig.Standalone(t)
	if os.Getenv("RIG_TEST_HOLD") != "" {
		fmt.Println("pid", s.PID())
		select {}
	}
	if got := s.CLI("PING"); got != "PONG" {
		t.Fatalf("PING = %q", got)
	}
}

// TestLeaksWhenNested leaks a goroutine if it runs nested.
func TestLeaksWhenNested(t *testing.T) {
	if os.Getenv("RIG_TEST_RUN") != "" {
		go func() { select {} }()
	}
}

// output reads all lines of a process.
func output(p *rig.Proc) string {
	var all strings.Builder
	for line := range p.Lines() {
		all.WriteString(line + "\n")
	}
	return all.String()
}

func TestServersDieWithTheProcess(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	p := rig.Spawn(t, "nested", map[string]string{"RIG_TEST_RUN": "TestStartsOneServer", "RIG_TEST_HOLD": "1"})
	var pid int
	for pid == 0 {
		if number, ok := strings.CutPrefix(p.Line(20*time.Second), "pid "); ok {
			var err error
			if pid, err = strconv.Atoi(number); err != nil {
				t.Fatal(err)
			}
		}
	}
	if dead(pid) {
		t.Fatal("the server does not run")
	}
	left := filepath.Join(os.TempDir(), fmt.Sprintf("redstart-rig-%d-*", p.PID()))
	if dirs, _ := filepath.Glob(left); len(dirs) != 1 {
		t.Fatalf("directories %s: %v", left, dirs)
	}
	p.Kill()
	rig.Eventually(t, 5*time.Second, "the server of a killed test process is dead", func() bool { return dead(pid) })

	next := rig.Spawn(t, "nested", map[string]string{"RIG_TEST_RUN": "TestStartsOneServer"})
	out := output(next)
	if code := next.Wait(20 * time.Second); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	if dirs, _ := filepath.Glob(left); len(dirs) != 0 {
		t.Fatalf("the next test process leaves %v", dirs)
	}
}

// A tier that needs a server fails without one. It reports the missing program once, before the
// first test.
func TestMissingServerFails(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "nested", map[string]string{
		"RIG_TEST_RUN": "TestStartsOneServer", "PATH": "/nonexistent", "REDSTART_TESTS": "server",
	})
	out := output(p)
	code, install := p.Wait(20*time.Second), "apt-get install -y redis-server redis-sentinel"
	if code != 1 || !strings.Contains(p.Stderr(), install) || strings.Contains(out, "RUN") {
		t.Fatalf("exit code %d:\n%s%s", code, out, p.Stderr())
	}
}

// The quick tier needs no server. It reports how many tests it left, and the command that runs
// them.
func TestQuickTierNeedsNoServer(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "nested", map[string]string{"RIG_TEST_RUN": "TestStartsOneServer", "PATH": "/nonexistent", "REDSTART_TESTS": "quick"})
	out := output(p)
	code, left := p.Wait(20*time.Second), "1 tests were left to make test\n"
	if code != 0 || !strings.Contains(out, "SKIP: TestStartsOneServer") || !strings.Contains(p.Stderr(), left) {
		t.Fatalf("exit code %d:\n%s%s", code, out, p.Stderr())
	}
}

func TestUnknownTierFails(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "nested", map[string]string{"RIG_TEST_RUN": "TestStartsOneServer", "REDSTART_TESTS": "some"})
	out := output(p)
	if code := p.Wait(20 * time.Second); code != 1 || !strings.Contains(p.Stderr(), `REDSTART_TESTS="some": want quick, server or all`) {
		t.Fatalf("exit code %d:\n%s%s", code, out, p.Stderr())
	}
}

func TestMainFindsLeaks(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "nested", map[string]string{"RIG_TEST_RUN": "TestLeaksWhenNested"})
	out := output(p)
	if code := p.Wait(20 * time.Second); code != 1 || !strings.Contains(p.Stderr(), "TestLeaksWhenNested") {
		t.Fatalf("exit code %d:\n%s%s", code, out, p.Stderr())
	}
}

func TestNoLeaks(t *testing.T) {
	rig.NoLeaks(t) // servers of the test harness are no leak
	rig.Shared(t)
	rig.Standalone(t).Kill()
	rig.NewProxy(t, rig.Shared(t).Addr())
}

// dead reports whether a process has ended, even if it is still a zombie.
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
