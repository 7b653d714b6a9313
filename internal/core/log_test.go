package core_test

import (
	"context"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// handler is a log handler that calls do for each record.
type handler struct {
	slog.Handler
	do func(r slog.Record)
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	h.do(r)
	return h.Handler.Handle(ctx, r)
}

// within ends the test if fn does not return within 10 s.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("not within 10 s: " + what)
	}
}

// TestA1_AHangingLogHandlerHoldsUpNoCall hangs in the log handler. Open, calls that open the
// breaker, its probe and Close still return, and Close reports the handler.
func TestA1_AHangingLogHandlerHoldsUpNoCall(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	letGo := make(chan struct{})
	log := &journal{}
	hanging := handler{slog.NewTextHandler(log, nil), func(slog.Record) { <-letGo }}

	var c *core.Core
	within(t, "Open", func() {
		c = open(t, proxy.URL(), timeout(200*time.Millisecond), func(o *core.Options) { o.Logger = slog.New(hanging) })
	})
	if c == nil {
		t.FailNow()
	}
	proxy.Stall()
	within(t, "calls to a silent server", func() {
		rig.Eventually(t, 10*time.Second, "the breaker opens", func() bool {
			err := get(t.Context(), c, "k")
			return err != nil && strings.Contains(err.Error(), "circuit breaker")
		})
	})
	proxy.Resume()
	within(t, "the breaker closes", func() {
		rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, "k") == nil })
	})
	var err error
	within(t, "Close", func() { err = c.Close() })
	if err == nil || !strings.Contains(err.Error(), "log handler") {
		t.Errorf("Close with a hanging log handler: %v", err)
	}
	close(letGo)
	rig.Eventually(t, 10*time.Second, "the handler gets the lines", func() bool { return log.count("breaker closed") == 1 })
}

// TestLogLinesAreInOrderAndBounded has a handler that hangs. The queue keeps a bounded number of
// lines, in order, and counts the others.
func TestLogLinesAreInOrderAndBounded(t *testing.T) {
	t.Parallel()
	const n = 10_000
	letGo := make(chan struct{})
	var mu sync.Mutex
	var numbers []int64
	dropped, last, sent := int64(0), int64(0), int64(n)
	c := open(t, rig.Shared(t).URL(), func(o *core.Options) {
		o.Logger = slog.New(handler{slog.NewTextHandler(io.Discard, nil), func(r slog.Record) {
			<-letGo
			mu.Lock()
			defer mu.Unlock()
			r.Attrs(func(a slog.Attr) bool {
				switch a.Key {
				case "number":
					numbers = append(numbers, a.Value.Int64())
				case "dropped":
					dropped += a.Value.Int64()
				case "last":
					last++
				}
				return true
			})
		}})
	})
	for i := range n {
		c.Logger().Warn("line", "number", i)
	}
	close(letGo)
	rig.Eventually(t, 10*time.Second, "the last line", func() bool {
		c.Logger().Warn("line", "last", true)
		sent++
		mu.Lock()
		defer mu.Unlock()
		return last > 0
	})

	if err := c.Close(); err != nil { // now all lines have arrived
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(numbers) < 200 || len(numbers) > 300 {
		t.Errorf("the queue kept %d of %d lines", len(numbers), n)
	}
	if came := int64(len(numbers)) + last; came+dropped != sent {
		t.Errorf("%d lines came and %d were counted as dropped, of %d", came, dropped, sent)
	}
	for i, number := range numbers[1:] { // the queue may have had space after dropped lines
		if number <= numbers[i] {
			t.Fatalf("number %d came after %d", number, numbers[i])
		}
	}
}

// TestAPanickingLogHandlerIsContained checks that neither a panic nor a Goexit of the log handler
// ends the process or the log.
func TestAPanickingLogHandlerIsContained(t *testing.T) {
	t.Parallel()
	log := &journal{}
	c := open(t, rig.Shared(t).URL(), func(o *core.Options) {
		o.Logger = slog.New(handler{slog.NewTextHandler(log, nil), func(r slog.Record) {
			switch r.Message {
			case "panic":
				panic("handler")
			case "exit":
				runtime.Goexit()
			}
		}})
	})
	for _, message := range []string{"panic", "exit", "line"} {
		c.Logger().Warn(message)
	}
	rig.Eventually(t, 10*time.Second, "the line after them", func() bool { return log.count("msg=line dropped=2") == 1 })
}
