package lock_test

import (
	"fmt"
	"strconv"
	"testing"
)

// TestAReservationEndsWithItsQueue: a lock is reserved for the All at the head of its queue. The
// All dies, and its process asks once more without queuing, which empties the queue. Then the lock
// is as free as any other lock: one short script acquires it.
func TestAReservationEndsWithItsQueue(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	r := p.runner(t)
	first := []string{r.prefix + "m0", r.prefix + "m0q", r.prefix + "m0w", r.prefix + "m0p"}
	second := []string{r.prefix + "m1", r.prefix + "m1q", r.prefix + "m1w", r.prefix + "m1p"}
	both := append(append([]string{}, first...), second...)

	r.eval("mutex_acquire", first, r.acquireArgs("m.a.1", false, 0)...)
	r.eval("several_acquire", both, r.acquireArgs("a.a.3", true, 0)...)
	r.set(r.now + modelAlive)
	r.eval("several_acquire", both, r.acquireArgs("a.a.3", false, 0)...)

	want := strconv.FormatInt(r.now, 10)
	if got := r.eval("mutex_fast_acquire", second[:1], "m.a.1", strconv.Itoa(modelTTL), "601000"); got != want {
		t.Fatalf("acquire of a free lock without waiters: %q, want the token %q; the state is %q", got, want,
			fmt.Sprint(r.do("GET", second[0])))
	}
}

// TestAWaiterThatAsksGetsThePermitHandedToIt: the lease of the only permit ends, and the first
// waiter asks. The script hands the permit to that waiter, and answers its token in the same call.
func TestAWaiterThatAsksGetsThePermitHandedToIt(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	r := p.runner(t)
	var keys []string
	for _, part := range []string{"s", "sq", "sw", "sh", "sp"} {
		keys = append(keys, r.prefix+part)
	}
	ask := func(id string, waited int64) string {
		return r.eval("shared_acquire", keys, append(r.acquireArgs(id, true, waited), "1")...)
	}

	start := r.now
	ask("s.a.1", 0)
	ask("s.a.2", 0)
	for r.now+modelAlive/2 < start+modelTTL { // each question keeps the waiter alive
		r.set(r.now + modelAlive/2)
		if got := ask("s.a.2", r.now-start); got[0] != '-' {
			t.Fatalf("the waiter got %q while another id holds the permit", got)
		}
	}

	r.set(start + modelTTL)
	if got, want := ask("s.a.2", r.now-start), strconv.FormatInt(r.now+1, 10); got != want {
		t.Fatalf("the waiter got %q, want the token %q", got, want)
	}
}
