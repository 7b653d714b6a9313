package lock_test

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redstart-go/redstart/lock"
)

// TestWaiterListEqualsASlice: for any order of additions and removals, the order is that in a
// slice. A sample has the first 32 waiters, and each other waiter within the necessary number of
// samples.
func TestWaiterListEqualsASlice(t *testing.T) {
	t.Parallel()
	for range 50 {
		p, next := &lock.WaiterList{}, 0
		var model []string
		for range 2000 {
			if len(model) == 0 || rand.IntN(100) < 52 {
				id := strconv.Itoa(next)
				next++
				p.Add(id)
				model = append(model, id)
			} else {
				i := rand.IntN(len(model))
				p.Remove(model[i])
				model = slices.Delete(model, i, i+1)
			}
			if p.Remove("unknown"); !slices.Equal(p.List(), model) {
				t.Fatalf("%v, want %v", p.List(), model)
			}
		}
		seen := map[string]bool{}
		for range 1 + len(model)/32 {
			sample := p.Sample()
			if n := min(len(model), 32); !slices.Equal(sample[:n], model[:n]) || len(sample) != min(len(model), 64) {
				t.Fatalf("a sample of %d of %d", len(sample), len(model))
			}
			for i, id := range sample {
				if slices.Contains(sample[:i], id) {
					t.Fatalf("%s is in one sample twice", id)
				}
				seen[id] = true
			}
		}
		if len(seen) != len(model) {
			t.Fatalf("%d of %d were looked for", len(seen), len(model))
		}
	}
}

// TestWaiterListRemovesInConstantTime: the cost of one removal does not grow with the number of
// waiters.
func TestWaiterListRemovesInConstantTime(t *testing.T) {
	t.Parallel()
	leave := func(n int) time.Duration {
		p := &lock.WaiterList{}
		order := rand.Perm(n)
		for i := range n {
			p.Add(strconv.Itoa(i))
		}
		began := time.Now()
		for _, i := range order {
			p.Remove(strconv.Itoa(i))
		}
		return time.Since(began)
	}
	per := func(n int) time.Duration {
		least := leave(n)
		for range 4 {
			least = min(least, leave(n))
		}
		return least / time.Duration(n)
	}
	if few, many := per(1000), per(50_000); many > 10*few+time.Microsecond {
		t.Errorf("a waiter leaves in %v of 1,000, in %v of 50,000", few, many)
	}
}
