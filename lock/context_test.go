package lock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestDoWithoutFn: if the answer arrives after the lease has ended, the error is not ErrLost,
// because the caller never had the lock.
func TestDoWithoutFn(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	client := open(t, proxy.URL(), "app", patient)
	l := newLocker(t, client, lock.Options{TTL: 100 * time.Millisecond})
	// the first call of a client may take longer than the lease of l
	mustRelease(t, mustTry(t, newLocker(t, client, lock.Options{}), "warm"))
	proxy.StallReplies()
	time.AfterFunc(300*time.Millisecond, proxy.Resume)
	ran := false
	err := l.Do(t.Context(), "n", func(context.Context, *lock.Lock) error { ran = true; return nil })
	if ran || errors.Is(err, lock.ErrLost) || !errors.Is(err, redstart.ErrUnavailable) {
		t.Fatalf("ran: %v, %v", ran, err)
	}
}

// TestErr: Err is right immediately, whatever ended the lock.
func TestErr(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l := newLocker(t, open(t, server.URL(), "app", patient), lock.Options{TTL: time.Second})
	held := mustTry(t, l, "n")
	if held.Err() != nil {
		t.Fatal(held.Err())
	}
	mustRelease(t, held)
	if err := held.Err(); err == nil || errors.Is(err, lock.ErrLost) {
		t.Fatalf("after Release: %v", err)
	}
	late := held.Context() // the first call of Context
	if late.Err() == nil || context.Cause(late) != held.Err() || late != held.Context() {
		t.Fatalf("Context after Release: %v, %v", late.Err(), context.Cause(late))
	}
	held = mustTry(t, l, "n")
	server.CLI("FLUSHALL")
	soon(t, "the loss is noticed", held.Context().Done())
	if err := held.Err(); !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "another owner or none") {
		t.Fatalf("lost: %v", err)
	}
}

type spanKey struct{}

// spans is an observer that stores its spans in contexts.
type spans struct{}

// TestContextIsNotInTheEndedSpan: the holder's work is not a part of the span of Acquire.
func TestContextIsNotInTheEndedSpan(t *testing.T) {
	t.Parallel()
	l := newLocker(t, open(t, rig.Shared(t).URL(), rig.Prefix(t), patient,
		func(cfg *redstart.Config) { cfg.Observer = spans{} }), lock.Options{})
	ctx := context.WithValue(t.Context(), ctxKey{}, "value")
	for _, take := range []func(context.Context, string, ...lock.CallOption) (*lock.Lock, error){l.Acquire, l.TryAcquire} {
		held, err := take(ctx, "n")
		if err != nil {
			t.Fatal(err)
		}
		if held.Context().Value(spanKey{}) != nil || held.Context().Value(ctxKey{}) != "value" {
			t.Errorf("the span in Context is %v", held.Context().Value(spanKey{}))
		}
		mustRelease(t, held)
	}
}
