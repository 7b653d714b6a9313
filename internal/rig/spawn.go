package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// roleVariable tells a spawned process what it is.
const roleVariable = "REDSTART_RIG_ROLE"

// RegisterRole names what a spawned process does. TestMain calls it before Main:
//
//	func TestMain(m *testing.M) {
//		rig.RegisterRole("holder", holder)
//		rig.Main(m)
//	}
//
// The process runs the function and exits 0; the function may os.Exit otherwise. It
// has no testing.TB: it reads its arguments from the environment (Spawn's env),
// opens its own client, reports by printing lines and obeys by reading lines.
func RegisterRole(name string, role func()) {
	process.mu.Lock()
	defer process.mu.Unlock()
	if process.roles == nil {
		process.roles = map[string]func(){}
	}
	process.roles[name] = role
}

func runRole(name string) (exitCode int) {
	process.mu.Lock()
	role := process.roles[name]
	process.mu.Unlock()
	if role == nil {
		fmt.Fprintf(os.Stderr, "rig: no role %q: TestMain must call rig.RegisterRole before rig.Main\n", name)
		return 2
	}
	role()
	return 0
}

// Proc is another process: a role of this test binary, or a program.
type Proc struct {
	t     testing.TB
	role  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string   // what it printed, in order
	drop  chan struct{} // closed when nobody will read lines any more

	mu     sync.Mutex
	errors strings.Builder // its stderr
	silent chan struct{}   // closed when it prints nothing there any more
	exited chan struct{}
	code   int // once exited
}

// Spawn starts a process that runs role, with env added to this process'
// environment. It is killed when the test ends and dies with the test process.
// What it prints to stderr is logged if the test fails.
func Spawn(t testing.TB, role string, env map[string]string) *Proc {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return launch(t, role, cmd)
}

// Program starts cmd as Spawn starts a role. Its standard streams are the rig's.
func Program(t testing.TB, cmd *exec.Cmd) *Proc {
	t.Helper()
	return launch(t, filepath.Base(cmd.Path), cmd)
}

func launch(t testing.TB, role string, cmd *exec.Cmd) *Proc {
	t.Helper()
	p := &Proc{t: t, role: role, cmd: cmd, lines: make(chan string, 1<<16),
		drop: make(chan struct{}), silent: make(chan struct{}), exited: make(chan struct{})}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	if err := process.start(p.cmd); err != nil {
		t.Fatalf("rig: spawn %s: %v", role, err)
	}
	var pipes sync.WaitGroup
	pipes.Go(func() { p.readLines(stdout) })
	pipes.Go(func() { p.readErrors(stderr) })
	go func() {
		defer close(p.exited)
		// Not cmd.Wait: it would close the pipes under their readers.
		if state, err := p.cmd.Process.Wait(); err == nil {
			p.code = state.ExitCode()
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() // an error means that it has exited
		<-p.exited
		close(p.drop)
		pipes.Wait()
		for _, pipe := range []io.Closer{stdin, stdout, stderr} {
			pipe.Close()
		}
		if t.Failed() && p.Stderr() != "" {
			t.Logf("stderr of %s:\n%s", role, p.Stderr())
		}
	})
	return p
}

// PID is the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Stop freezes the process (SIGSTOP), as a long GC pause or a suspended machine
// would.
func (p *Proc) Stop() { p.Signal(syscall.SIGSTOP) }

// Continue undoes Stop.
func (p *Proc) Continue() { p.Signal(syscall.SIGCONT) }

// Kill ends the process at once (SIGKILL) and waits until it is gone.
func (p *Proc) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.exited
}

// Send writes one line to the process' standard input.
func (p *Proc) Send(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("rig: send to %s: %v", p.role, err)
	}
}

// Line is the next line that the process prints; none within the time ends the
// test.
func (p *Proc) Line(within time.Duration) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	select {
	case line, ok := <-p.lines:
		if ok {
			return line
		}
		<-p.exited
		p.t.Fatalf("rig: %s ended with code %d instead of printing a line:\n%s", p.role, p.code, p.Stderr())
	case <-ctx.Done():
		p.t.Fatalf("rig: %s printed no line within %v:\n%s", p.role, within, p.Stderr())
	}
	return ""
}

// Lines are the lines not taken yet, closed when the process ends. A process may
// be ahead by 65,536 lines, then it waits.
func (p *Proc) Lines() <-chan string { return p.lines }

// Wait closes the process' standard input, waits until it ends and returns its
// exit code, −1 if a signal ended it. Stderr is complete then.
func (p *Proc) Wait(within time.Duration) int {
	p.t.Helper()
	p.stdin.Close()
	late := time.After(within)
	for _, end := range []chan struct{}{p.exited, p.silent} {
		select {
		case <-end:
		case <-late:
			p.t.Fatalf("rig: %s did not end within %v:\n%s", p.role, within, p.Stderr())
		}
	}
	return p.code
}

// Stderr is what the process has printed there so far.
func (p *Proc) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errors.String()
}

// Signal sends a signal to the process; to one that has ended it does nothing.
func (p *Proc) Signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("rig: %s: %v: %v", p.role, sig, err)
	}
}

func (p *Proc) readLines(r io.Reader) {
	defer close(p.lines)
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		select {
		case p.lines <- scanner.Text():
		case <-p.drop:
			return
		}
	}
}

func (p *Proc) readErrors(r io.Reader) {
	defer close(p.silent)
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		p.mu.Lock()
		p.errors.Write(buf[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}
