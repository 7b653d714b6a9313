package rig_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestProgram(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", `trap 'echo caught; exit 7' TERM; echo "$GREETING in $PWD"; read line; echo "$line" >&2; read line`)
	cmd.Dir = rig.Dir(t)
	cmd.Env = []string{"GREETING=hello"}
	p := rig.Program(t, cmd)
	if got := p.Line(10 * time.Second); got != "hello in "+cmd.Dir {
		t.Fatalf("first line %q", got)
	}
	p.Send("to stderr")
	rig.Eventually(t, 10*time.Second, "it waits for the second line", func() bool { return p.Stderr() == "to stderr\n" })
	p.Signal(syscall.SIGTERM)
	if got := p.Line(10 * time.Second); got != "caught" {
		t.Fatalf("second line %q", got)
	}
	if code := p.Wait(10 * time.Second); code != 7 {
		t.Fatalf("exit code %d", code)
	}
	if _, err := os.Stat(cmd.Dir); err != nil {
		t.Fatalf("the folder ended before the test process: %v", err)
	}
}
