package lock_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// TestK4_OperatorsOnAFullServer: at maxmemory under noeviction, Inspect, Leader, Break and Resign
// work. Waiters of an All and of a reader are served. Calls that need memory return ErrFull.
func TestK4_OperatorsOnAFullServer(t *testing.T) {
	t.Parallel()
	server, ctx := rig.Standalone(t), t.Context()
	l := newLocker(t, open(t, server.URL(), "app", patient),
		lock.Options{TTL: 3 * time.Second, Group: "g", Wait: lock.WaitForever})
	election, err := l.Election("e")
	if err != nil {
		t.Fatal(err)
	}
	leading, campaigned := make(chan *lock.Lock, 1), make(chan error, 1)
	go func() {
		campaigned <- election.Campaign(ctx, func(ctx context.Context, held *lock.Lock) error {
			leading <- held
			<-ctx.Done()
			return nil
		})
	}()
	leader := soon(t, "one leads", leading)
	writer, err := l.Writer("rw")
	writer = resourceOf(t, writer, err)
	reader, err := l.Reader("rw")
	reader = resourceOf(t, reader, err)
	writing, err := writer.TryAcquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	broken, first := mustTry(t, l, "broken"), mustTry(t, l, "a")
	both, read := make(chan *lock.Lock, 1), make(chan *lock.Lock, 1)
	acquire := func(g *lock.Resource, got chan<- *lock.Lock) {
		held, err := g.Acquire(ctx)
		if err != nil {
			t.Error(err)
		}
		got <- held
	}
	go acquire(mustAll(t, l, "a", "b"), both)
	go acquire(reader, read)
	rig.Eventually(t, 10*time.Second, "two wait", func() bool { return l.Stats().Waiting == 2 })
	full(server)

	info, err := l.Inspect(ctx, "broken")
	if err != nil || len(info.Holders) != 1 || info.Holders[0].Token != broken.Token() {
		t.Fatalf("Inspect: %+v, %v", info, err)
	}
	if info, err := writer.Inspect(ctx); err != nil || info.Held != 1 || info.Waiting != 1 {
		t.Errorf("Inspect of the writer: %+v, %v", info, err)
	}
	if who, ok, err := election.Leader(ctx); err != nil || !ok || who.Term != leader.Token() {
		t.Errorf("Leader: %+v, %v, %v", who, ok, err)
	}
	if was, err := l.Break(ctx, "broken", info.Holders[0]); err != nil || !was {
		t.Errorf("Break: %v, %v", was, err)
	}
	soon(t, "the holder learns of Break", broken.Context().Done())
	for what, err := range map[string]error{
		"a place in a queue": func() error { _, err := l.Acquire(ctx, "a"); return err }(),
		"FencedSet":          l.FencedSet(ctx, first, "k", []byte("v"), time.Minute),
	} {
		if !errors.Is(err, redstart.ErrFull) {
			t.Errorf("%s on a full server: %v", what, err)
		}
	}
	mustRelease(t, first)
	mustRelease(t, soon(t, "the All is served", both))
	mustRelease(t, writing)
	mustRelease(t, soon(t, "the reader is served", read))
	if err := election.Resign(ctx); err != nil {
		t.Errorf("Resign: %v", err)
	}
	if err := soon(t, "the campaign ends", campaigned); !errors.Is(err, lock.ErrResigned) {
		t.Errorf("Campaign: %v", err)
	}
	if lost := l.Stats().Lost; lost != 1 {
		t.Errorf("%d locks were lost, want the broken one", lost)
	}
}

// TestK4_FirstReleasesComeFirst: a lock without a release yet is released before any number of
// repeated releases.
func TestK4_FirstReleasesComeFirst(t *testing.T) {
	t.Parallel()
	l := newLocker(t, open(t, rig.Shared(t).URL(), rig.Prefix(t), patient), lock.Options{})
	if !lock.FirstReleaseIsPicked(l, 10_000) {
		t.Error("the release of a lock waits for those of 10,000 cancelled acquires")
	}
}

// TestK3_ALossNamesItsCause: if the server refused the renewals, the error and the log say so.
func TestK3_ALossNamesItsCause(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	server.CLI("ACL", "SETUSER", "weak", "on", ">weak", "~*", "&*", "+@all")
	log := &logged{}
	logger := func(cfg *redstart.Config) { cfg.Logger = slog.New(slog.NewTextHandler(log, nil)) }
	l := newLocker(t, open(t, server.URLAs("weak", "weak"), "app", patient, logger), lock.Options{TTL: 6 * time.Second})
	held := mustTry(t, l, "n")
	server.CLI("ACL", "SETUSER", "weak", "-evalsha", "-eval")
	soon(t, "the lock is lost", held.Context().Done())
	if err := held.Err(); !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "NOPERM") ||
		errors.Is(err, redstart.ErrDenied) {
		t.Errorf("the loss: %v", err)
	}
	rig.Eventually(t, 10*time.Second, "the log names the cause", func() bool { return strings.Contains(log.text(), "NOPERM") })
}
