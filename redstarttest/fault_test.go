package redstarttest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/redstarttest"
)

// brief is a configuration whose calls end soon.
func brief(cfg *redstart.Config) { cfg.CommandTimeout = 200 * time.Millisecond }

// Calls fail while the server is broken, and work before it and after Heal.
func TestBreakAndHeal(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		first, second := server.Client(), server.Client()
		for i := range 2 {
			for _, client := range []*redstart.Client{first, second} {
				if err := client.Ping(t.Context()); err != nil {
					t.Fatalf("round %d, before Break: %v", i, err)
				}
			}
			server.Break()
			for n := range 40 { // so that the circuit breakers open
				client := []*redstart.Client{first, second}[n%2]
				if err := client.Ping(t.Context()); !errors.Is(err, redstart.ErrUnavailable) {
					t.Errorf("round %d, broken: %v, want ErrUnavailable", i, err)
				}
			}
			if _, err := redstart.Open(t.Context(), server.Config()); !errors.Is(err, redstart.ErrUnavailable) {
				t.Errorf("round %d, open while broken: %v, want ErrUnavailable", i, err)
			}
			server.Heal()
		}
		server.Break() // the cleanup ends it
	})
}

// A call to a silent server ends with its timeout. A write that was held is executed after Resume.
func TestHangAndResume(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t, brief)
		names, err := cache.New[string](server.Client(), "names", cache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := names.Set(t.Context(), "1", "Ada"); err != nil {
			t.Fatalf("before Hang: %v", err)
		}
		server.Hang()
		began := time.Now()
		err = names.Set(t.Context(), "2", "Bob")
		if !errors.Is(err, redstart.ErrIndeterminate) && !errors.Is(err, redstart.ErrUnavailable) {
			t.Errorf("a write while the server hangs: %v", err)
		}
		if took := time.Since(began); took < 150*time.Millisecond {
			t.Errorf("the call ended after %v: the server was gone, not silent", took)
		}
		server.Resume()
		if name, err := names.Get(t.Context(), "1"); err != nil || name != "Ada" {
			t.Errorf("after Resume: %q, %v", name, err)
		}
		server.Hang() // the cleanup ends it
	})
}

// Each answer comes late by the delay, and in time again without it.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that the times are exact
		server := redstarttest.Start(t)
		client := server.Client()
		ping := func() time.Duration {
			began := time.Now()
			if err := client.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		for _, delay := range []time.Duration{0, time.Second, 0} {
			server.Delay(delay)
			if took := ping(); took != delay {
				t.Errorf("a round trip took %v with a delay of %v", took, delay)
			}
		}
	})
}

// The write was executed and its caller does not know: the next reader sees it. Without the fault,
// the caller gets the answer.
func TestLoseReplies(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		writer, reader := redis(t, server.Client()), redis(t, server.Client())
		set := func(key string) error {
			return writer.Do(t.Context(), writer.B().Set().Key(server.Config().Namespace+":"+key).Value("1").Build()).Error()
		}
		stored := func(key string) bool {
			t.Helper()
			n, err := reader.Do(t.Context(), reader.B().Exists().Key(server.Config().Namespace+":"+key).Build()).AsInt64()
			if err != nil {
				t.Fatal(err)
			}
			return n == 1
		}
		if err := set("a"); err != nil || !stored("a") {
			t.Fatalf("without the fault: %v, stored %t", err, stored("a"))
		}
		server.LoseReplies(1)
		if err := set("b"); err == nil {
			t.Error("the answer was not lost")
		}
		if !stored("b") {
			t.Error("the write was not executed")
		}
		if err := set("c"); err != nil || !stored("c") {
			t.Errorf("after the loss: %v", err)
		}
	})
}

// A lock whose grant was lost in the network is not left behind: the client releases it.
func TestLostGrantIsReleased(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		server := redstarttest.Start(t)
		client := server.Client()
		locks, err := lock.New(client, lock.Options{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		held, err := locks.TryAcquire(t.Context(), "report")
		if err != nil {
			t.Fatalf("without the fault: %v", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		server.LoseReplies(1)
		if _, err := locks.TryAcquire(t.Context(), "report"); !errors.Is(err, redstart.ErrIndeterminate) {
			t.Errorf("a lost grant: %v, want ErrIndeterminate", err)
		}
		server.Settle()
		held, err = locks.TryAcquire(t.Context(), "report")
		if err != nil {
			t.Fatalf("the lost grant still holds the lock: %v", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestFaultMisuse(t *testing.T) {
	for _, test := range []struct {
		use   func(s *redstarttest.Server)
		parts []string
	}{
		{func(s *redstarttest.Server) { s.Heal() }, []string{"not broken", "call Break"}},
		{func(s *redstarttest.Server) { s.Resume() }, []string{"does not hang", "call Hang"}},
		{func(s *redstarttest.Server) { s.Delay(-1) }, []string{"negative", "0"}},
		{func(s *redstarttest.Server) { s.LoseReplies(-1) }, []string{"negative"}},
		{func(s *redstarttest.Server) { s.LoseReplies(2) }, []string{"0 of 2 writes", "LoseReplies(0)"}},
	} {
		wantFailure(t, func(t testing.TB) { test.use(redstarttest.Start(t)) }, test.parts...)
	}
	if failures := failuresOf(t, func(t testing.TB) {
		server := redstarttest.Start(t)
		server.LoseReplies(1)
		server.LoseReplies(0)
		server.Break()
		server.Break()
		server.Heal()
	}); failures != nil {
		t.Errorf("correct use fails: %q", failures)
	}
}

func redis(t *testing.T, client *redstart.Client) rueidis.Client {
	t.Helper()
	c, err := client.Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
