package rig_test

import (
	"errors"
	"fmt"
	"os"
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
	p := rig.Spawn(t, "flood", nil) // prints more than anybody reads
	p.Line(10 * time.Second)
	p.Kill()
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("process %d after Kill: %v", p.PID(), err)
	}
	if code := p.Wait(time.Second); code != -1 {
		t.Fatalf("exit code %d", code)
	}
}

// nested runs this test binary again as a real test process, rig.Main included.
func nested() {
	os.Unsetenv("REDSTART_RIG_ROLE")
	os.Setenv("RIG_TEST_HOLD", "1")
	err := syscall.Exec(os.Args[0], []string{os.Args[0], "-test.run=^TestStartsOneServer$"}, os.Environ())
	panic(err)
}

// TestStartsOneServer is what the nested process runs: there it holds the server
// until it is killed.
func TestStartsOneServer(t *testing.T) {
	s := rig.Standalone(t)
	if os.Getenv("RIG_TEST_HOLD") != "" {
		fmt.Println(s.PID())
		select {}
	}
	if got := s.CLI("PING"); got != "PONG" {
		t.Fatalf("PING = %q", got)
	}
}

func TestServersDieWithTheProcess(t *testing.T) {
	t.Parallel()
	p := rig.Spawn(t, "nested", nil)
	pid, err := strconv.Atoi(p.Line(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if dead(pid) {
		t.Fatal("the server does not run")
	}
	p.Kill()
	rig.Eventually(t, 5*time.Second, "the server of a killed test process is dead", func() bool { return dead(pid) })
}

// dead reports whether a process is gone or a zombie that nobody reaps.
func dead(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
