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

// Eventually polls cond until it is true and ends the test with what when it is not within the
// given time. The time for which the machine is late does not count. It is for the test's own
// goroutine.
func Eventually(t testing.TB, within time.Duration, what string, cond func() bool) {
	t.Helper()
	if !poll(within, cond) {
		t.Fatalf("not within %v: %s", within, what)
	}
}

// poll reports whether cond became true in time; it asks once more at the end, so
// that a process that was not scheduled does not miss what happened meanwhile.
func poll(within time.Duration, cond func() bool) bool {
	deadline := time.Now().Add(within)
	for wait := 200 * time.Microsecond; time.Now().Before(deadline); wait = min(2*wait, 20*time.Millisecond) {
		if cond() {
			return true
		}
		asleep := time.Now()
		time.Sleep(wait)
		if late := time.Since(asleep) - wait; late > wait {
			deadline = deadline.Add(late) // the naps are the control, as those of a Stopwatch
		}
	}
	return cond()
}

// RunNamespace is what every Prefix starts with. On the shared server the shipped
// ACL users have it in the place of "app:".
const RunNamespace = "t-"

var prefixes atomic.Int64

// Prefix is a new namespace for this test, unique on every server that this run
// uses: "t-mutualexclusion-1a2b-3".
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
