package session_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/session"
)

func TestMain(m *testing.M) {
	// scs.New starts a store in memory whose goroutine can't be stopped without a data race.
	rig.Main(m, goleak.IgnoreTopFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"))
}

const (
	goroutines = 128
	users      = 1024
)

// account is the session data of the benchmarks, about 150 bytes.
type account struct {
	Name  string
	Theme string
	Cart  []string
	N     int
}

var example = account{Name: "Ada Lovelace", Theme: "dark",
	Cart: []string{"a punched card", "a second one", "a difference engine, used"}}

// goRedisStore is the store that users of scs have: GET, SET with expiry, DEL.
type goRedisStore struct{ client *redis.Client }

func (s goRedisStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	b, err := s.client.Get(ctx, "scs:"+token).Bytes()
	if err == redis.Nil {
		return nil, false, nil
	}
	return b, err == nil, err
}

func (s goRedisStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	return s.client.Set(ctx, "scs:"+token, b, time.Until(expiry)).Err()
}

func (s goRedisStore) DeleteCtx(ctx context.Context, token string) error {
	return s.client.Del(ctx, "scs:"+token).Err()
}

func (s goRedisStore) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}
func (s goRedisStore) Commit(token string, b []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, b, expiry)
}
func (s goRedisStore) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }

func open(t testing.TB, url string) *redstart.Client { return openIn(t, url, rig.Prefix(t)) }

func openIn(t testing.TB, url, namespace string) *redstart.Client {
	t.Helper()
	return rigclient.Open(t, url, namespace)
}

func rival(t testing.TB, server *rig.Server) goRedisStore {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), PoolSize: goroutines, ReadTimeout: 10 * time.Second})
	t.Cleanup(func() { _ = client.Close() })
	return goRedisStore{client}
}

// discard is a ResponseWriter without costs.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// run sends requests through a handler from 128 goroutines, each with one of the cookies, and
// reports the commands per request. A script counts as one command.
func run(b *testing.B, server *rig.Server, handler http.Handler, cookies []string) {
	b.Helper()
	requests := make([]*http.Request, max(1, len(cookies)))
	for i := range requests {
		requests[i] = httptest.NewRequest("GET", "/", nil).WithContext(b.Context())
		if cookies != nil {
			requests[i].Header.Set("Cookie", cookies[i])
		}
	}
	var next atomic.Uint32
	before := server.CommandStats()
	b.SetParallelism(goroutines / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		i, w := next.Add(7919), &discard{header: http.Header{}}
		for pb.Next() {
			i++
			clear(w.header)
			handler.ServeHTTP(w, requests[int(i)%len(requests)])
		}
	})
	b.StopTimer()
	after := server.CommandStats()
	sent := func(name string) float64 { return float64(after[name] - before[name]) }
	scripts := sent("evalsha") + sent("eval")
	// The server also counts the commands inside scripts: each of our scripts has one GET and one
	// SET.
	commands := sent("get") + sent("set") + sent("del") - 2*scripts + scripts
	b.ReportMetric(commands/float64(b.N), "commands/op")
}

// ours creates a Manager with sessions of 1,024 users.
func ours(b *testing.B, server *rig.Server, opts session.Options) (*session.Manager[account], []string) {
	b.Helper()
	m, err := session.New[account](open(b, server.URL()), "bench", opts)
	if err != nil {
		b.Fatal(err)
	}
	cookies := make([]string, users)
	for i := range cookies {
		s, err := m.Create(b.Context(), fmt.Sprint("user ", i), example)
		if err != nil {
			b.Fatal(err)
		}
		cookies[i] = "__Host-session=" + s.Token()
	}
	return m, cookies
}

func newSCS(store scs.Store) *scs.SessionManager {
	m := scs.New()
	m.Store = store
	return m
}

// theirs creates the same sessions with scs.
func theirs(b *testing.B, store scs.Store, idle time.Duration) (*scs.SessionManager, []string) {
	b.Helper()
	m := newSCS(store)
	m.IdleTimeout = idle
	m.ErrorFunc = func(_ http.ResponseWriter, _ *http.Request, err error) { b.Error(err) }
	cookies := make([]string, users)
	for i := range cookies {
		ctx, err := m.Load(b.Context(), "")
		if err != nil {
			b.Fatal(err)
		}
		m.Put(ctx, "user", fmt.Sprint("user ", i))
		m.Put(ctx, "name", example.Name)
		m.Put(ctx, "theme", example.Theme)
		m.Put(ctx, "cart", strings.Join(example.Cart, ","))
		token, _, err := m.Commit(ctx)
		if err != nil {
			b.Fatal(err)
		}
		cookies[i] = "session=" + token
	}
	return m, cookies
}

// BenchmarkUntouched measures the most frequent request: it reads the user and the theme.
func BenchmarkUntouched(b *testing.B) {
	server := rig.Standalone(b)
	redstarts := func(b *testing.B, opts session.Options) {
		m, cookies := ours(b, server, opts)
		run(b, server, m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s := m.FromContext(r.Context())
			if data, err := s.Data(r.Context()); err != nil || s.User() == "" || data.Theme != "dark" {
				b.Errorf("%q, %+v, %v", s.User(), data, err)
			}
		})), cookies)
	}
	rivals := func(b *testing.B, store scs.Store, idle time.Duration) {
		m, cookies := theirs(b, store, idle)
		run(b, server, m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if m.GetString(r.Context(), "user") == "" || m.GetString(r.Context(), "theme") != "dark" {
				b.Error("another session")
			}
		})), cookies)
	}
	b.Run("redstart", func(b *testing.B) { redstarts(b, session.Options{}) })
	b.Run("redstart encrypted", func(b *testing.B) {
		redstarts(b, session.Options{EncryptionKeys: [][]byte{[]byte(strings.Repeat("k", 32))}})
	})
	b.Run("scs idle timeout", func(b *testing.B) { rivals(b, rival(b, server), time.Hour) })
	b.Run("scs no idle timeout", func(b *testing.B) { rivals(b, rival(b, server), 0) })
	b.Run("scs idle timeout on session.Store", func(b *testing.B) {
		store, err := session.NewStore(open(b, server.URL()), "scs", session.StoreOptions{})
		if err != nil {
			b.Fatal(err)
		}
		rivals(b, store, time.Hour)
	})
}

// BenchmarkVisitor measures a request without a cookie. The handler asks for the user.
func BenchmarkVisitor(b *testing.B) {
	server := rig.Standalone(b)
	b.Run("redstart", func(b *testing.B) {
		m, _ := ours(b, server, session.Options{})
		run(b, server, m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if m.FromContext(r.Context()).User() != "" {
				b.Error("a visitor has a user")
			}
		})), nil)
	})
	b.Run("scs", func(b *testing.B) {
		m, _ := theirs(b, rival(b, server), time.Hour)
		run(b, server, m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if m.GetString(r.Context(), "user") != "" {
				b.Error("a visitor has a user")
			}
		})), nil)
	})
}

// BenchmarkUpdate counts in the session data.
func BenchmarkUpdate(b *testing.B) {
	server := rig.Standalone(b)
	b.Run("redstart", func(b *testing.B) {
		m, cookies := ours(b, server, session.Options{})
		run(b, server, m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if err := m.FromContext(r.Context()).Update(r.Context(), func(a *account) error { a.N++; return nil }); err != nil {
				b.Error(err)
			}
		})), cookies)
	})
	b.Run("scs, which loses concurrent ones", func(b *testing.B) {
		m, cookies := theirs(b, rival(b, server), time.Hour)
		run(b, server, m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			m.Put(r.Context(), "n", m.GetInt(r.Context(), "n")+1)
		})), cookies)
	})
}

// BenchmarkRevokeUser ends 1,000 sessions of one user.
func BenchmarkRevokeUser(b *testing.B) {
	server := rig.Standalone(b)
	m, err := session.New[account](open(b, server.URL()), "bench", session.Options{})
	if err != nil {
		b.Fatal(err)
	}
	fill := func() {
		for range 1000 {
			if _, err := m.Create(b.Context(), "ada", example); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		fill()
		b.StartTimer()
		if n, err := m.RevokeUser(b.Context(), "ada"); n != 1000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
