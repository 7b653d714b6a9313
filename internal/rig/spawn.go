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

// roleVariable has the role of a spawned process.
const roleVariable = "REDSTART_RIG_ROLE"

// RegisterRole registers the function of a role for [Spawn]. TestMain calls it before [Main]:
//
//	func TestMain(m *testing.M) {
//		rig.RegisterRole("holder", holder)
//		rig.Main(m)
//	}
//
// The spawned process runs the function and exits with 0, unless the function calls os.Exit. The
// function has no testing.TB. It reads its arguments from the environment (env of Spawn), opens its
// own client, and talks to the test through lines on standard input and output.
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

// Proc is a child process: a role of this test binary, or a program.
type Proc struct {
	t     testing.TB
	role  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string   // printed lines, in order
	drop  chan struct{} // closed when no goroutine reads lines any more

	mu     sync.Mutex
	errors strings.Builder // its stderr
	silent chan struct{}   // closed at the end of stderr
	exited chan struct{}
	code   int // once exited
}

// Spawn starts a process that runs role, with the environment of this process and env. The process
// is killed when the test ends, and ends with the test process. If the test fails, its log shows
// the stderr of the process.
func Spawn(t testing.TB, role string, env map[string]string) *Proc {
	t.Helper()
	return launch(t, role, roleCommand(role, env))
}

func roleCommand(role string, env map[string]string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// Program starts cmd like [Spawn]. Package rig uses its standard streams.
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
		// cmd.Wait is not used, because it closes the pipes while goroutines read them.
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

// PID returns the process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Stop freezes the process (SIGSTOP), like a long GC pause or a suspended machine.
func (p *Proc) Stop() { p.Signal(syscall.SIGSTOP) }

// Continue ends Stop.
func (p *Proc) Continue() { p.Signal(syscall.SIGCONT) }

// Kill ends the process at once (SIGKILL) and waits until it is gone.
func (p *Proc) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.exited
}

// Send writes one line to the standard input of the process.
func (p *Proc) Send(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("rig: send to %s: %v", p.role, err)
	}
}

// Line returns the next line that the process prints. Without a line within the time, the test
// ends.
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

// Lines returns the channel of the lines that the test has not read. The channel is closed when the
// process ends. A process can print 65,536 unread lines, then it waits.
func (p *Proc) Lines() <-chan string { return p.lines }

// Wait closes the standard input of the process, waits until it ends and returns its exit code, or
// −1 if a signal ended it. Stderr is complete then.
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

// Stderr returns the text that the process has printed to stderr.
func (p *Proc) Stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errors.String()
}

// Signal sends a signal to the process. It has no effect after the end of the process.
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
