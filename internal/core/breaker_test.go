package core_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

// outlived stops the answers of a server for a little more than the command timeout of c. The first
// call times out and opens the breaker. outlived returns the result of the second call, which gets
// its reply while the breaker is open.
func outlived(t *testing.T, c *core.Core, proxy *rig.Proxy, commandTimeout time.Duration) error {
	t.Helper()
	opened := c.Nodes()[0].Opened
	proxy.Stall()
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- get(t.Context(), c, "k") }()
	<-time.After(commandTimeout / 2) // the second call has this much time left when the first one ends
	go func() { second <- get(t.Context(), c, "k") }()

	if err := <-first; !errors.Is(err, fault.ErrUnavailable) {
		t.Fatalf("the call on a silent server returned %v", err)
	}
	if n := c.Nodes()[0].Opened - opened; n != 1 {
		t.Fatalf("the breaker opened %d times, want once", n)
	}
	proxy.Resume()
	return <-second
}

// After the reply to a call, no call is refused: callers do not wait for the next probe.
func TestAReplyClosesTheBreaker(t *testing.T) {
	t.Parallel()
	const commandTimeout = 500 * time.Millisecond
	proxy := rig.NewProxy(t, rig.Shared(t).Addr())
	c := open(t, proxy.URL(), timeout(commandTimeout))
	for range 5 {
		rig.Eventually(t, 10*time.Second, "calls work", func() bool { return get(t.Context(), c, "k") == nil })
		if err := outlived(t, c, proxy, commandTimeout); err != nil {
			t.Fatalf("the server answers, and the second call returned %v", err)
		}
		if err := get(t.Context(), c, "k"); err != nil {
			t.Errorf("the call after an answer returned %v", err)
		}
	}
}

// A reply that says that the server can't serve does not close the breaker. A probe does when the
// server can.
func TestARefusalLeavesTheBreakerOpen(t *testing.T) {
	t.Parallel()
	const commandTimeout = 500 * time.Millisecond
	const loading = "-LOADING Redis is loading the dataset in memory\r\n"
	s := newStub(t, map[string]string{"GET": "$1\r\nv\r\n"})
	proxy := rig.NewProxy(t, s.listener.Addr().String())
	c := open(t, proxy.URL(), timeout(commandTimeout))
	if err := get(t.Context(), c, "k"); err != nil {
		t.Fatal(err)
	}

	s.set("GET", loading)
	s.set("PING", loading)
	if err := outlived(t, c, proxy, commandTimeout); err == nil || !strings.Contains(err.Error(), "LOADING") {
		t.Fatalf("the server is loading, and the second call returned %v", err)
	}
	for range 5 {
		if err := get(t.Context(), c, "k"); err == nil || !strings.Contains(err.Error(), "circuit breaker open") {
			t.Errorf("the breaker is open, and a call returned %v", err)
		}
	}
	s.set("GET", "$1\r\nv\r\n")
	s.set("PING", "+PONG\r\n")
	rig.Eventually(t, 10*time.Second, "a probe closes the breaker", func() bool { return get(t.Context(), c, "k") == nil })
}
