package session_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// stallable puts a proxy into the replication connection of each replica, and waits until all
// replicas are up to date.
func stallable(t *testing.T, primary *rig.Server, replicas []*rig.Server) []*rig.Proxy {
	t.Helper()
	var links []*rig.Proxy
	for _, r := range replicas {
		link := rig.NewProxy(t, primary.Addr())
		links = append(links, link)
		if got := r.CLI("REPLICAOF", "127.0.0.1", link.Addr()[strings.LastIndexByte(link.Addr(), ':')+1:]); got != "OK" {
			t.Fatal(got)
		}
	}
	caughtUp(t, primary, replicas)
	for _, link := range links {
		if link.Open() == 0 {
			t.Fatal("a replica does not go through its proxy")
		}
	}
	return links
}

// caughtUp waits until the replicas have all writes of the primary.
func caughtUp(t *testing.T, primary *rig.Server, replicas []*rig.Server) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, "the replicas have caught up", func() bool {
		for _, r := range replicas {
			if r.Info("master_link_status") != "up" || r.Info("slave_repl_offset") != primary.Info("master_repl_offset") {
				return false
			}
		}
		return true
	})
}

func replicasOf(s *rig.Sentinel) (replicas []*rig.Server) {
	for _, server := range s.Servers() {
		if server != s.Primary() {
			replicas = append(replicas, server)
		}
	}
	return replicas
}

// S1 has a limit: a failover loses a revocation that no replica had, and the session works again.
// Without MinReplicas the caller gets no error. With MinReplicas the caller gets ErrIndeterminate.
// After the caller has repeated the call until it succeeds, the revocation survives the next
// failover.
func TestS1_AFailoverRestoresUnreplicatedSessions(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	ctx, s := t.Context(), rig.NewSentinel(t)
	client := open(t, s.URL(), rig.Prefix(t))
	plain := manager(t, client, session.Options{})
	confirmed := manager(t, client, session.Options{MinReplicas: 1, ReplicaWait: 200 * time.Millisecond})
	old, replicas := s.Primary(), replicasOf(s)
	links := stallable(t, old, replicas)

	early := must[*sess](t)(plain.Create(ctx, "ada", cart{}))
	one := must[*sess](t)(plain.Create(ctx, "bob", cart{N: 1}))
	destroyed := must[*sess](t)(plain.Create(ctx, "bob", cart{N: 2}))
	revoked := must[*sess](t)(confirmed.Create(ctx, "eve", cart{N: 3}))
	all := must[*sess](t)(confirmed.Create(ctx, "joe", cart{N: 4}))
	ok(t, plain.Revoke(ctx, "ada", early.ID()))
	caughtUp(t, old, replicas)

	for _, link := range links {
		link.Stall()
	}
	ok(t, plain.Revoke(ctx, "bob", one.ID()))
	ok(t, destroyed.Destroy(ctx))
	late := must[*sess](t)(plain.Create(ctx, "new", cart{}))
	if err := confirmed.Revoke(ctx, "eve", revoked.ID()); !errors.Is(err, redstart.ErrIndeterminate) {
		t.Errorf("Revoke without a confirmation: %v", err)
	}
	if _, err := confirmed.RevokeUser(ctx, "joe"); !errors.Is(err, redstart.ErrIndeterminate) {
		t.Errorf("RevokeUser without a confirmation: %v", err)
	}
	for _, x := range []*sess{early, one, revoked, all} {
		if _, err := plain.Load(ctx, x.Token()); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("before the failover: session of %s: %v", x.User(), err)
		}
	}
	old.Kill()
	next := s.NextPrimary(old, 30*time.Second)
	state := func(token string) (found bool) {
		t.Helper()
		rig.Eventually(t, 20*time.Second, "the new primary answers", func() bool {
			_, err := plain.Load(ctx, token)
			found = err == nil
			return err == nil || errors.Is(err, session.ErrNotFound)
		})
		return found
	}
	if state(early.Token()) {
		t.Error("a replicated revocation was lost")
	}
	if !state(one.Token()) || !state(revoked.Token()) || !state(all.Token()) {
		t.Error("the failover lost no write: this run did not test the limit")
	}
	if state(late.Token()) {
		t.Error("a session that no replica had exists after the failover")
	}
	t.Log("after a failover to a replica without the last writes: a session that was revoked without MinReplicas works again; " +
		"with MinReplicas the revocation was ErrIndeterminate")

	// Repeat until it succeeds, as the error says. The other replica has to find the new primary
	// first.
	repeat := func(revoke func() error) {
		t.Helper()
		rig.Eventually(t, 30*time.Second, "the revocation is confirmed", func() bool {
			err := revoke()
			return err == nil || errors.Is(err, session.ErrNotFound)
		})
	}
	repeat(func() error { return confirmed.Revoke(ctx, "eve", revoked.ID()) })
	repeat(func() error { _, err := confirmed.RevokeUser(ctx, "joe"); return err })
	next.Kill()
	s.NextPrimary(next, 30*time.Second)
	if state(revoked.Token()) || state(all.Token()) {
		t.Error("a confirmed revocation was lost in a failover")
	}
}

// A revocation waits for the requested number of replicas, at most ReplicaWait. It succeeds as soon
// as the replicas have confirmed.
func TestS1_WaitOverStalledReplication(t *testing.T) {
	t.Parallel()
	ctx, primary := t.Context(), rig.Standalone(t)
	replicas := []*rig.Server{rig.Replica(t, primary.Addr()), rig.Replica(t, primary.Addr())}
	links := stallable(t, primary, replicas)
	namespace := rig.Prefix(t)
	client, elsewhere := open(t, primary.URL(), namespace), open(t, primary.URL(), namespace)
	opts := func(n int, wait time.Duration) session.Options {
		return session.Options{MinReplicas: n, ReplicaWait: wait}
	}
	create := func() *sess { return must[*sess](t)(manager(t, client, session.Options{}).Create(ctx, "ada", cart{})) }

	links[0].Stall()
	caughtUp(t, primary, replicas[1:])
	ok(t, manager(t, client, opts(1, 20*time.Second)).Revoke(ctx, "ada", create().ID())) // the other replica confirms
	s := create()
	const wait = 300 * time.Millisecond
	started := time.Now()
	err := manager(t, client, opts(2, wait)).Revoke(ctx, "ada", s.ID())
	if !errors.Is(err, redstart.ErrIndeterminate) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("one of two replicas is stalled: %v", err)
	}
	if took := time.Since(started); took < wait {
		t.Errorf("the call returned after %v", took)
	}
	// The session has ended on the primary. The second attempt finds no session to end, but still
	// waits for the write of the first attempt, even on a connection that has never written.
	if err := manager(t, elsewhere, opts(2, wait)).Revoke(ctx, "ada", s.ID()); !errors.Is(err, redstart.ErrIndeterminate) {
		t.Errorf("the second try: %v", err)
	}
	if _, err := manager(t, client, session.Options{}).Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("on the primary: %v", err)
	}

	links[1].Stall()
	s = create()
	done := make(chan error, 1)
	go func() { done <- manager(t, client, opts(2, time.Minute)).Revoke(ctx, "ada", s.ID()) }()
	rig.Eventually(t, 10*time.Second, "the revocation waits", func() bool { return primary.Info("blocked_clients") == "1" })
	select {
	case err := <-done:
		t.Fatalf("without a confirmation: %v", err)
	default:
	}
	for _, link := range links {
		link.Resume()
	}
	select {
	case err := <-done:
		ok(t, err)
	case <-time.After(20 * time.Second):
		t.Fatal("the replicas have caught up, but the revocation still waits")
	}
}

// Blocking readers use all connections of the pool. The pool ignores the context while it waits for
// a connection.
func TestA1_ConfirmationKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	client, err := redstart.Open(t.Context(), redstart.Config{URL: rig.Shared(t).URL(),
		Namespace: rig.Prefix(t), PoolSize: 1, CommandTimeout: 5 * time.Second})
	ok(t, err)
	t.Cleanup(func() { ok(t, client.Close()) })
	blocking := must[rueidis.Client](t)(clientcore.Of(client).Blocking(t.Context()))
	for range 3 { // PoolSize, and two that the client adds for itself
		_, release := blocking.Dedicate()
		defer release()
	}
	m := manager(t, client, session.Options{MinReplicas: 1, ReplicaWait: time.Second})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Revoke(ctx, "ada", s.ID()) }()
	select {
	case err := <-done:
		if !errors.Is(err, redstart.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a connection: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the call waits for a connection longer than its deadline")
	}
	if _, err := m.Load(t.Context(), s.Token()); err != nil {
		t.Errorf("the call sent no command, but returned: %v", err)
	}
}
