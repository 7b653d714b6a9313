package rig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Eventually polls cond until it is true. If cond stays false for the given time, the test ends
// with the text what. The time for which the machine is late does not count. Only the goroutine of
// the test may call Eventually.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !poll(within, cond) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

// EventuallyOr is [Eventually] with a failure that contains the state at that time.
func EventuallyOr(t testing.TB, within time.Duration, what string, cond func() bool, state func() string) {
	t.Helper()
	if !poll(within, cond) {
		t.Fatalf("not within %v: %s: %s", within, what, state())
	}
}

// poll reports whether cond became true in time. It checks cond once more at the end, for a process
// that was not scheduled in the meantime.
func poll(within time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(within)
	for wait := 200 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 20*time.Millisecond) {
		if cond() {
			return true
		}
		asleep := time.Now()
		time.Sleep(wait)
		if late := time.Since(asleep) - wait; late > wait {
			deadline = deadline.Add(late) // the naps are the control, like the naps of a Stopwatch
		}
	}
	return cond()
}

// RunNamespace is the begin of each [Prefix]. On the shared server it replaces "app:" in the rules
// of the shipped ACL users.
const RunNamespace = "t-"

var prefixes atomic.Int64

// Prefix returns a new namespace for this test, which is unique on each server of this run:
// "t-mutualexclusion-1a2b-3".
func Prefix(t testing.TB) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "/")
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if (r >= 'a' && r <= 'z' || r >= '0' && r <= '9') && b.Len() < 24 {
			b.WriteRune(r)
		}
	}
	return fmt.Sprintf("%s%s-%s-%d", RunNamespace, b.String(), strconv.FormatInt(int64(os.Getpid()), 36), prefixes.Add(1))
}
