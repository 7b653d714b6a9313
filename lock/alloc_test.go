package lock_test

import (
	"context"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestAllocations bounds the allocations of an acquire and its release. It is not parallel, because
// AllocsPerRun counts the allocations of all goroutines.
func TestAllocations(t *testing.T) {
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app", patient)
	plain, grouped := newLocker(t, client, lock.Options{}), newLocker(t, client, lock.Options{Group: "g"})
	semaphore, err := plain.Semaphore("n", 3)
	if err != nil {
		t.Fatal(err)
	}
	both, err := grouped.All("a", "b")
	if err != nil {
		t.Fatal(err)
	}

	ctx := context.Background()
	for _, tt := range []struct {
		what    string
		acquire func() (*lock.Lock, error)
		most    float64
	}{
		{"a lock", func() (*lock.Lock, error) { return plain.Acquire(ctx, "n") }, 5},
		{"a permit", func() (*lock.Lock, error) { return semaphore.Acquire(ctx) }, 8},
		{"two names", func() (*lock.Lock, error) { return both.Acquire(ctx) }, 18},
	} {
		got := testing.AllocsPerRun(500, func() {
			held, err := tt.acquire()
			if err == nil {
				err = held.Release(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %v allocations", tt.what, got)
		if got > tt.most {
			t.Errorf("%s: an acquire and its release allocate %v times, at most %v", tt.what, got, tt.most)
		}
	}
}
