package session_test

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// everlasting returns the keys of a namespace without a TTL.
func everlasting(t testing.TB, servers []*rig.Server, namespace string) (keys []string, total int) {
	t.Helper()
	for _, server := range servers {
		for cursor := "0"; ; {
			reply, err := server.Do("SCAN", cursor, "MATCH", namespace+":*", "COUNT", "1000")
			ok(t, err)
			page := reply.([]any)
			for _, key := range page[1].([]any) {
				total++
				if ttl := server.CLI("PTTL", key.(string)); strings.HasPrefix(ttl, "-1") {
					keys = append(keys, key.(string))
				}
			}
			if cursor = page[0].(string); cursor == "0" {
				break
			}
		}
	}
	return keys, total
}

// Sessions expire on real servers by the clock of the server. The idle limit is exact to + a tenth.
func TestS2_TheServerEnforcesIdleTimeoutAndLifetime(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		const idle, margin = 300 * time.Millisecond, 5 * time.Millisecond
		m := manager(t, client, session.Options{IdleTimeout: idle, Lifetime: time.Hour})

		// An unused session lives for the idle time, and at most a tenth longer.
		alive, gone := lifeOf(t, m, func(s *sess) error { return session.Read(ctx, m, s) })
		if gone < idle-margin || alive > idle+idle/10+margin {
			t.Errorf("a session with an idle time of %v was seen alive until %v and was gone at %v", idle, alive, gone)
		}
		// A session in use ends with its lifetime.
		const life = 400 * time.Millisecond
		alive, gone = lifeOf(t, m, func(s *sess) error {
			_, err := m.Load(ctx, s.Token())
			if err == nil {
				err = s.Update(ctx, func(c *cart) error { c.N++; return nil })
			}
			return err
		}, session.Lifetime(life), session.IdleTimeout(time.Hour))
		if gone < life-margin || alive > life+margin {
			t.Errorf("a session with a lifetime of %v was seen alive until %v and was gone at %v", life, alive, gone)
		}
		// A reader decides by its estimate of the clock of the server, which is exact to 1 ms. The
		// server may expire the key 1 ms later.
		rig.Eventually(t, time.Second, "no session is listed after its end", func() bool {
			return len(must[[]session.Info](t)(m.List(ctx, "ada"))) == 0
		})
	})
}

// lifeOf creates a session and polls it until it is gone. alive is an upper bound of the time at
// which it was last seen, gone a lower bound of the time at which it was gone. A slow machine does
// not widen the bounds.
func lifeOf(t testing.TB, m *mgr, look func(*sess) error, opts ...session.CreateOption) (alive, gone time.Duration) {
	t.Helper()
	before := time.Now()
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}, opts...))
	after := time.Now()
	rig.Eventually(t, 20*time.Second, "the session ends", func() bool {
		at := time.Since(after)
		err := look(s)
		if err == nil {
			alive = at
		} else if !errors.Is(err, session.ErrNotFound) {
			t.Error(err)
		}
		return err != nil
	})
	return alive, time.Since(before)
}

// The longest limits, without waiting: the clock of the embedded server can be moved.
func TestS2_DefaultLimits(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := rig.Embedded(t)
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
	ahead := time.Duration(0)
	advance := func(d time.Duration) {
		server.Advance(d)
		ahead += d
		session.SetSkew(m, ahead.Milliseconds()) // as any reply would set it
	}
	for range 23 {
		advance(time.Hour)
		must[*sess](t)(m.Load(ctx, s.Token())) // within idle + throttle: an hour and a minute
	}
	advance(59 * time.Minute)
	must[*sess](t)(m.Load(ctx, s.Token()))
	advance(2 * time.Minute)
	if _, err := m.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("after 24 h: %v", err)
	}

	s = must[*sess](t)(m.Create(ctx, "ada", cart{}, session.Lifetime(session.NoLifetime)))
	for range 50 {
		advance(time.Hour)
		must[*sess](t)(m.Load(ctx, s.Token()))
	}
	advance(time.Hour + time.Minute + time.Second)
	if _, err := m.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("idle for more than an hour and a minute: %v", err)
	}

	s = must[*sess](t)(m.Create(ctx, "ada", cart{}, session.IdleTimeout(session.NoIdleTimeout), session.Remember()))
	advance(23*time.Hour + 59*time.Minute)
	must[*sess](t)(m.Load(ctx, s.Token()))
	advance(2 * time.Minute)
	if _, err := m.Load(ctx, s.Token()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("without an idle limit, after 24 h: %v", err)
	}
	advance(28 * 24 * time.Hour)
	recalled := must[*sess](t)(m.Recall(ctx, s.RememberToken()))
	advance(24 * time.Hour)
	if _, err := m.Recall(ctx, recalled.RememberToken()); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("using a remember-me token does not lengthen its 30 days: %v", err)
	}
}

// The server enforces the grace period of a replaced token.
func TestS2_GraceEnds(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		m := manager(t, open(t, e.URL, e.Namespace), session.Options{RenewGrace: time.Second})
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}))
		old := s.Token()
		ok(t, s.Renew(ctx))
		must[*sess](t)(m.Load(ctx, old))
		rig.Eventually(t, 5*time.Second, "the grace ends", func() bool {
			_, err := m.Load(ctx, old)
			return errors.Is(err, session.ErrNotFound)
		})
		must[*sess](t)(m.Load(ctx, s.Token()))
		none := manager(t, open(t, e.URL, e.Namespace), session.Options{RenewGrace: session.NoGrace})
		old = s.Token()
		s = must[*sess](t)(none.Load(ctx, old))
		ok(t, s.Renew(ctx))
		if _, err := none.Load(ctx, old); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("without a grace period: %v", err)
		}
	})
}

// Every kind of key has a TTL.
func TestS2_EveryKeyExpires(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	client := open(t, server.URL(), "t")
	m := manager(t, client, session.Options{MaxPerUser: 3, MinReplicas: 1, ReplicaWait: time.Millisecond})
	store := must[*session.Store](t)(session.NewStore(client, "scs", session.StoreOptions{}))
	check := func(what string) {
		t.Helper()
		keys, total := everlasting(t, []*rig.Server{server}, "t")
		if len(keys) > 0 || total == 0 {
			t.Errorf("%s: of %d keys these have no TTL: %v", what, total, keys)
		}
	}
	for i := range 5 {
		s := must[*sess](t)(m.Create(ctx, "", cart{}))
		check("anonymous")
		ok(t, s.Login(ctx, "ada", session.Remember()))
		check("login")
		ok(t, s.Renew(ctx))
		ok(t, s.Update(ctx, func(c *cart) error { c.N = i; return nil }))
		check("renewed")
		session.SetSkew(m, 1<<40)
		s = must[*sess](t)(m.Load(ctx, s.Token()))
		check("touched")
		recalled := must[*sess](t)(m.Recall(ctx, must[*sess](t)(m.Create(ctx, "eve", cart{},
			session.Remember())).RememberToken()))
		check("recalled")
		ok(t, recalled.Update(ctx, func(c *cart) error { c.N++; return nil }))
		if i%2 == 0 {
			_ = s.Destroy(ctx) // fails, because no replica confirms it
			check("destroyed")
			_, _ = m.RevokeUser(ctx, "eve")
		}
		disarm := rig.ArmOnce(t, session.Points(m), "write", "move", func() { check("moving") })
		moving := must[*sess](t)(m.Create(ctx, "joe", cart{}))
		ok(t, moving.Login(ctx, fmt.Sprint("user ", i)))
		disarm()
	}
	ok(t, store.Commit("token", []byte("x"), time.Now().Add(time.Minute)))
	check("store")
	ok(t, store.Delete("token"))
	check("store, deleted")
}

// The index contains only live sessions, and is deleted with the last one.
func TestS2_IndexPrunesItself(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		ctx := t.Context()
		client := open(t, e.URL, e.Namespace)
		c := clientcore.Of(client)
		m := manager(t, client, session.Options{})
		size := func(user string) int {
			msg, err := c.Do(ctx, core.Read("ZCARD", session.IndexKey(m, user)))
			ok(t, err)
			n, err := msg.AsInt64()
			ok(t, err)
			return int(n)
		}
		for range 20 {
			must[*sess](t)(m.Create(ctx, "ada", cart{}, session.IdleTimeout(50*time.Millisecond)))
		}
		last := must[*sess](t)(m.Create(ctx, "ada", cart{}))
		rig.Eventually(t, 20*time.Second, "a write after the end of 20 sessions leaves one entry", func() bool {
			ok(t, last.Update(ctx, func(c *cart) error { c.N++; return nil }))
			return size("ada") == 1
		})
		must[*sess](t)(m.Create(ctx, "bob", cart{}, session.IdleTimeout(50*time.Millisecond)))
		rig.Eventually(t, 20*time.Second, "the index goes with its last session", func() bool { return size("bob") == 0 })
		must[*sess](t)(m.Load(ctx, last.Token()))
	})
}

// A session ends at the earlier one of both limits, as the TTL on the server shows.
func TestS2_TheDeadlineIsTheSmaller(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	ctx := t.Context()
	m := manager(t, open(t, server.URL(), "t"), session.Options{})
	for _, tt := range []struct{ idle, life, want time.Duration }{
		{time.Hour, 24 * time.Hour, 61 * time.Minute},
		{time.Minute, time.Hour, 66 * time.Second},
		{time.Hour, 30 * time.Minute, 30 * time.Minute},
		{session.NoIdleTimeout, time.Hour, time.Hour},
		{time.Hour, session.NoLifetime, 61 * time.Minute},
		{100 * time.Hour, 101 * time.Hour, 100*time.Hour + time.Minute},
	} {
		s := must[*sess](t)(m.Create(ctx, "ada", cart{}, session.IdleTimeout(tt.idle), session.Lifetime(tt.life)))
		for _, step := range []func() error{
			func() error { return nil },
			func() error { return s.Update(ctx, func(c *cart) error { c.N++; return nil }) },
			func() error { return s.Renew(ctx) },
		} {
			ok(t, step())
			ttl, err := strconv.ParseInt(server.CLI("PTTL", session.Key(m, s.Token())), 10, 64)
			ok(t, err)
			got := time.Duration(ttl) * time.Millisecond
			if got > tt.want || got < tt.want-10*time.Second {
				t.Errorf("idle %v, lifetime %v: TTL %v, want %v", tt.idle, tt.life, got, tt.want)
			}
		}
	}
}
