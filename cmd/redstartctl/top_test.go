package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A frame is one write that fits into the terminal, however long its lines and however many.
func TestDrawFitsIntoTheTerminal(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 500)
	for _, to := range []size{{10, 3}, {1, 1}, {80, 24}, {0, 0}} {
		var w writes
		must(t, draw(&w, strings.Repeat(long+"\n", 500), to))
		if w.n != 1 {
			t.Errorf("%v: %d writes, want 1", to, w.n)
		}
		text := strings.TrimSuffix(strings.TrimPrefix(w.String(), home), clearBelow)
		lines := strings.Split(text, "\r\n")
		if len(lines) != max(to.rows, 1) {
			t.Errorf("%v: %d lines", to, len(lines))
		}
		for _, line := range lines {
			if n := len([]rune(strings.TrimSuffix(line, clearLine))); n != to.columns {
				t.Errorf("%v: a line of %d characters", to, n)
			}
		}
	}
}

type writes struct {
	bytes.Buffer
	n int
}

func (w *writes) Write(b []byte) (int, error) {
	w.n++
	return w.Buffer.Write(b)
}

// Without a terminal, top writes one plain frame, or as many as --frames says.
func TestTopWithoutATerminal(t *testing.T) {
	t.Parallel()
	c, env := newConsumers(t)
	c.run(events.SubscriberOptions{}, func(context.Context, events.Event[order]) error { return nil })
	r := execute(t, env, "top")
	if r.code != exitFine || strings.Contains(r.stdout, "\x1b") || strings.Count(r.stdout, "redstart top") != 1 ||
		!strings.Contains(r.stdout, "mail") {
		t.Errorf("code %d: %q%s", r.code, r.stdout, r.stderr)
	}
	r = execute(t, env, "top", "--frames", "3", "--every", "250ms")
	if r.code != exitFine || strings.Count(r.stdout, "redstart top") != 3 || !strings.Contains(r.stdout, "+0/s") {
		t.Errorf("code %d: %q%s", r.code, r.stdout, r.stderr)
	}
	if r = execute(t, env, "top", "--every", "1ms"); r.code == exitFine {
		t.Error("--every 1ms is accepted")
	}
}

// On a terminal, top draws on the alternate screen, and Ctrl-C restores the terminal.
func TestTopOnATerminalEndsOnInterrupt(t *testing.T) {
	t.Parallel()
	_, env := newConsumers(t)
	v := startTop(t, env)
	v.until("two frames", func(text string) bool { return strings.Count(text, home+"redstart top") >= 2 })
	v.interrupt()
	if text := v.shown.String(); !strings.HasPrefix(text, enterScreen) || !strings.Contains(text, leaveScreen) {
		t.Errorf("the terminal is not restored: %q", text[max(0, len(text)-200):])
	}
}

// While the server is down, top keeps the last frame with its time and the error. It continues
// when the server is back.
func TestTopKeepsTheLastFrameInAnOutage(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server, namespace := rig.Standalone(t), rig.Prefix(t)
	bus, err := events.NewDurable(open(t, server.URL(), namespace), "orders", events.DurableOptions{Partitions: 1})
	must(t, err)
	must(t, bus.Pause(t.Context(), "mail"))
	v := startTop(t, serverEnv(server.URL(), namespace))
	frames := func() int { return strings.Count(v.shown.String(), home+"redstart top") }
	v.until("a frame", func(string) bool { return frames() > 0 })
	server.Kill()
	v.until("the outage and the last frame", func(text string) bool {
		_, after, found := strings.Cut(text, "no answer, the state is of ")
		return found && strings.Contains(after, "redstart top")
	})
	server.Restart()
	before := frames()
	v.until("a new frame", func(string) bool { return frames() > before })
	v.interrupt()
}

// topView is a running top on a pseudo terminal.
type topView struct {
	t       *testing.T
	cmd     *exec.Cmd
	primary *os.File
	frames  chan string
	shown   strings.Builder
}

func startTop(t *testing.T, env []string) *topView {
	t.Helper()
	primary, secondary := pseudoTerminal(t)
	v := &topView{t: t, primary: primary, frames: make(chan string, 1000)}
	v.cmd = exec.CommandContext(t.Context(), program(t), "top", "--every", "250ms")
	v.cmd.Env = append(withoutRedis(os.Environ()), env...)
	v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = secondary, secondary, secondary
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, v.cmd.Start())
	must(t, secondary.Close())
	go func() {
		defer close(v.frames)
		buf := make([]byte, 64<<10)
		for {
			n, err := primary.Read(buf)
			if err != nil { // the other side is closed
				return
			}
			v.frames <- string(buf[:n])
		}
	}()
	return v
}

// until waits for a state of the terminal, or for the end of the program.
func (v *topView) until(what string, ok func(text string) bool) {
	v.t.Helper()
	timeout := time.After(30 * time.Second)
	for !ok(v.shown.String()) {
		select {
		case text, more := <-v.frames:
			if v.shown.WriteString(text); !more {
				return
			}
		case <-timeout:
			v.t.Fatalf("%s: not within 30 s: %q", what, v.shown.String())
		}
	}
}

// interrupt sends Ctrl-C and waits for the end of the program.
func (v *topView) interrupt() {
	v.t.Helper()
	_, err := v.primary.WriteString("\x03")
	must(v.t, err)
	v.until("the end", func(string) bool { return false })
	if err := v.cmd.Wait(); err != nil {
		v.t.Errorf("after Ctrl-C: %v", err)
	}
}

// pseudoTerminal returns the two sides of a pseudo terminal of 80 columns and 24 rows.
func pseudoTerminal(t *testing.T) (primary, secondary *os.File) {
	t.Helper()
	rig.Need(t, rig.TierServer)
	primary, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { primary.Close() })
	secondary, err = openSecondary(primary)
	must(t, err)
	return primary, secondary
}
