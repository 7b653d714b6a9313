package rig

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// aloneVariable names the test that a process runs alone.
const aloneVariable = "REDSTART_RIG_ALONE"

// Alone is for a test that measures its process, for example the heap, which parallel tests share.
// It returns true if this process runs only this test. Otherwise it runs the test in a new process
// and fails if that run fails; the caller then returns.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneVariable) == t.Name() {
		return true
	}

	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), aloneVariable+"="+t.Name())
	p := launch(t, t.Name(), cmd)
	var output strings.Builder
	for line := range p.Lines() {
		output.WriteString(line + "\n")
	}
	code := p.Wait(10 * time.Second)
	t.Log("alone:\n" + output.String())
	if code != 0 || !strings.Contains(output.String(), "--- PASS: "+t.Name()) {
		t.Errorf("exit code %d", code)
	}
	return false
}
