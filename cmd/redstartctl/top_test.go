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
	primary, secondary := pseudoTerminal(t)
	cmd := exec.CommandContext(t.Context(), program(t), "top", "--every", "250ms")
	cmd.Env = append(withoutRedis(os.Environ()), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = secondary, secondary, secondary
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	must(t, secondary.Close())

	frames := make(chan string, 1000)
	go func() {
		defer close(frames)
		buf := make([]byte, 64<<10)
		for {
			n, err := primary.Read(buf)
			if err != nil { // the other side is closed
				return
			}
			frames <- string(buf[:n])
		}
	}()
	var shown strings.Builder
	until := func(what string, ok func(text string) bool) {
		timeout := time.After(20 * time.Second)
		for !ok(shown.String()) {
			select {
			case text, more := <-frames:
				if shown.WriteString(text); !more {
					return
				}
			case <-timeout:
				t.Fatalf("%s: not within 20 s: %q", what, shown.String())
			}
		}
	}
	until("two frames", func(text string) bool { return strings.Count(text, home+"redstart top") >= 2 })
	_, err := primary.WriteString("\x03") // Ctrl-C
	must(t, err)
	until("the end", func(string) bool { return false })
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if text := shown.String(); !strings.HasPrefix(text, enterScreen) || !strings.Contains(text, leaveScreen) {
		t.Errorf("the terminal is not restored: %q", text[max(0, len(text)-200):])
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
