package rig

import (
	"os/exec"
	"runtime"
	"syscall"
)

// starter starts child processes. The kernel kills them when this process ends.
//
// The kernel sends Pdeathsig when the thread that forked ends, not the process. So one goroutine
// starts all processes, and it stays locked to its thread.
type starter struct {
	work chan job
	done chan struct{}
}

type job struct {
	cmd    *exec.Cmd
	result chan error
}

func newStarter() *starter {
	s := &starter{work: make(chan job), done: make(chan struct{})}
	go s.run()
	return s
}

func (s *starter) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.done)
	for j := range s.work {
		// The child has its own process group. So Ctrl-C reaches only the test process, which
		// ends its children in order.
		j.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		j.result <- j.cmd.Start()
	}
}

func (s *starter) start(cmd *exec.Cmd) error {
	j := job{cmd: cmd, result: make(chan error, 1)}
	s.work <- j
	return <-j.result
}

func (s *starter) end() {
	close(s.work)
	<-s.done
}
