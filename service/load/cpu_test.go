package main

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// The time of a child counts for its parent only on request. Otherwise the clients would get the
// time of the shop, which is their child.
func TestProcessorTimeOfChildren(t *testing.T) {
	if _, measured, err := processorTime(os.Getpid(), false); err != nil || measured != (runtime.GOOS == "linux") {
		t.Fatal(measured, err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	child := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := child.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = child.Wait() // reports the signal
	}()

	took := func(pid int, children bool) time.Duration {
		t.Helper()
		d, _, err := processorTime(pid, children)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for took(child.Process.Pid, false) < 300*time.Millisecond {
		if t.Context().Err() != nil {
			t.Fatal("the child uses no processor time")
		}
		<-time.After(tick) // the time of another process is no event
	}
	alone, all := took(os.Getpid(), false), took(os.Getpid(), true)
	if all < alone+300*time.Millisecond {
		t.Errorf("own time %v, with the child %v; the child has used 300 ms", alone, all)
	}
}
