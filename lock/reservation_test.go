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
