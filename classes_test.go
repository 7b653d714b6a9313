package redstart_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/internal/script"
	"github.com/redstart-go/redstart/observe"
)

func open(t *testing.T, cfg redstart.Config) *redstart.Client {
	t.Helper()
	c, err := redstart.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// do sends a command.
func do(c *redstart.Client, words ...string) error {
	_, err := clientcore.Of(c).Do(context.Background(), core.Write(words[0], words[1], words[2:]...))
	return err
}

// wantClass fails unless err has the given class, no other class, and contains a term of the
// server.
func wantClass(t *testing.T, err, class error, word string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Errorf("got %v, want class %v", err, class)
	} else if !strings.Contains(err.Error(), word) {
		t.Errorf("%v does not contain %q", err, word)
	}
	for _, other := range []error{
		redstart.ErrUnavailable, redstart.ErrIndeterminate, redstart.ErrDenied,
		redstart.ErrFull, redstart.ErrCorrupt, redstart.ErrTooLarge,
	} {
		if other != class && errors.Is(err, other) {
			t.Errorf("%v also has the class %v", err, other)
		}
	}
}

var (
	setScript  = script.New("return redis.call('SET', KEYS[1], ARGV[1])")
	scanScript = script.New("return redis.call('FLUSHALL', KEYS[1])")
)

func eval(c *redstart.Client, s *script.Script, key, arg string) error {
	_, err := clientcore.Of(c).Eval(context.Background(), s, []string{key}, []string{arg})
	return err
}

func TestA2_Full(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--maxmemory-policy", "noeviction")
	c := open(t, redstart.Config{URL: s.URL()})
	if err := eval(c, setScript, "app:warm", "x"); err != nil {
		t.Fatal(err)
	}
	s.CLI("CONFIG", "SET", "maxmemory", "1mb") // less than it uses
	wantClass(t, do(c, "SET", "app:k", "x"), redstart.ErrFull, "OOM")
	wantClass(t, eval(c, setScript, "app:k", "x"), redstart.ErrFull, "OOM")
	if err := do(c, "DEL", "app:warm"); err != nil {
		t.Errorf("a full server refuses to delete: %v", err)
	}
}

func TestA2_Denied(t *testing.T) {
	t.Parallel()
	s := rig.ACLServer(t, rig.ACLFile)
	c := open(t, redstart.Config{URL: s.URL()})
	wantClass(t, do(c, "FLUSHALL", "SYNC"), redstart.ErrDenied, "flushall")
	wantClass(t, do(c, "SET", "foreign:key", "x"), redstart.ErrDenied, "key")
	wantClass(t, do(c, "PUBLISH", "foreign", "x"), redstart.ErrDenied, "channel")
	wantClass(t, eval(c, setScript, "foreign:key", "x"), redstart.ErrDenied, "")
	wantClass(t, eval(c, scanScript, "app:k", ""), redstart.ErrDenied, "") // inside Lua, where 7.0 loses the prefix
	_, err := redstart.Open(t.Context(), redstart.Config{URL: s.URLAs("redstart", "hunter2")})
	wantClass(t, err, redstart.ErrDenied, "WRONGPASS")
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the password is in %v", err)
	}
}

func TestA2_WrongType(t *testing.T) {
	t.Parallel()
	c := open(t, redstart.Config{URL: rig.Shared(t).URL()})
	key := rig.Prefix(t)
	if err := do(c, "RPUSH", key, "x"); err != nil {
		t.Fatal(err)
	}
	wantClass(t, do(c, "GET", key), redstart.ErrCorrupt, "WRONGTYPE")
}

func TestA2_ReplicaRefusesWrites(t *testing.T) {
	t.Parallel()
	set := rig.NewSentinel(t)
	primary := set.Primary()
	for _, s := range set.Servers() {
		if s == primary {
			continue
		}
		c := open(t, redstart.Config{URL: s.URL()})
		wantClass(t, do(c, "SET", "app:k", "x"), redstart.ErrUnavailable, "READONLY")
		if w := c.Warnings(); len(w) == 0 || w[len(w)-1].Code != "replica" {
			t.Errorf("warnings: %v", w)
		}
		return
	}
}

func TestA2_LoadingAndBusy(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--busy-reply-threshold", "10", "--loading-process-events-interval-bytes", "1024")
	c := open(t, redstart.Config{URL: s.URL(), CommandTimeout: 2 * time.Second})
	loop := script.New("while redis.call('EXISTS', KEYS[1]) == 0 do end")
	ended := make(chan error, 1)
	go func() { ended <- eval(c, loop, "app:end", "") }()
	other := open(t, redstart.Config{URL: s.URL(), CommandTimeout: 2 * time.Second, Lazy: true})
	rig.Eventually(t, 5*time.Second, "the server is busy", func() bool {
		err := do(other, "GET", "app:k")
		return err != nil && strings.Contains(err.Error(), "BUSY")
	})
	wantClass(t, do(other, "GET", "app:k"), redstart.ErrUnavailable, "BUSY")
	s.CLI("SCRIPT", "KILL")
	<-ended

	if err := do(c, "SET", "app:k", strings.Repeat("x", 1<<20)); err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		if err := do(c, "SET", fmt.Sprint("app:load:", i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.CLI("CONFIG", "SET", "key-load-delay", "2000"); got != "OK" {
		t.Fatal(got)
	}
	go func() { _, _ = s.Do("DEBUG", "RELOAD") }()
	var err error
	rig.Eventually(t, 5*time.Second, "the server is loading", func() bool {
		err = do(c, "GET", "app:k")
		return err != nil && strings.Contains(err.Error(), "LOADING")
	})
	wantClass(t, err, redstart.ErrUnavailable, "LOADING")
	rig.Eventually(t, 20*time.Second, "the server has loaded", func() bool { return do(c, "GET", "app:k") == nil })
}

func TestA2_ClusterDown(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cl := rig.NewCluster(t, rig.NoReplicas())
	c := open(t, redstart.Config{URL: cl.URL()})
	const key = "app:{k}"
	if err := do(c, "SET", key, "x"); err != nil {
		t.Fatal(err)
	}
	for _, s := range cl.Nodes() {
		s.CLI("CLUSTER", "DELSLOTS", fmt.Sprint(keys.Slot(key)))
	}
	wantClass(t, do(c, "SET", key, "x"), redstart.ErrUnavailable, "CLUSTERDOWN")
}

// The client follows redirections. The replies of a node have a class too, for programs that send
// commands to one node.
func TestA2_MovedAskAndTryAgain(t *testing.T) {
	t.Parallel()
	cl := rig.NewCluster(t, rig.NoReplicas())
	c := open(t, redstart.Config{URL: cl.URL()})
	from, to := cl.Primaries()[0], cl.Primaries()[1]
	key := ""
	for i := 0; key == "" || cl.Primary(key) != from; i++ {
		key = fmt.Sprintf("app:{%d}", i)
	}
	if err := do(c, "SET", key, "x"); err != nil {
		t.Fatal(err)
	}
	ask := func(s *rig.Server, words ...string) error {
		node := rigclient.Redis(t, c).Nodes()[s.Addr()]
		return fault.Classify(node.Do(t.Context(), node.B().Arbitrary(words...).Build()).Error(), true)
	}
	wantClass(t, ask(to, "GET", key), redstart.ErrUnavailable, "MOVED")
	m := cl.MigrateSlot(int(keys.Slot(key)), from, to)
	wantClass(t, ask(from, "MGET", key, key+"other"), redstart.ErrUnavailable, "TRYAGAIN")
	m.Move(key)
	wantClass(t, ask(from, "GET", key), redstart.ErrUnavailable, "ASK")
	m.Finish()
	wantClass(t, ask(from, "GET", key), redstart.ErrUnavailable, "MOVED")
	if err := do(c, "GET", key); err != nil {
		t.Errorf("through the client: %v", err)
	}
	wantClass(t, ask(to, "EVALSHA", strings.Repeat("0", 40), "0"), redstart.ErrUnavailable, "NOSCRIPT")
}

func TestA2_ReplicasMissingOrAlone(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	primary := rig.Standalone(t, "--min-replicas-to-write", "1")
	c := open(t, redstart.Config{URL: primary.URL()})
	wantClass(t, do(c, "SET", "app:k", "x"), redstart.ErrUnavailable, "NOREPLICAS")
	replica := rig.Replica(t, primary.Addr(), "--replica-serve-stale-data", "no")
	c = open(t, redstart.Config{URL: replica.URL()})
	wantClass(t, do(c, "SET", "app:k", "x"), redstart.ErrUnavailable, "READONLY")
	primary.Kill()
	var err error
	rig.Eventually(t, 10*time.Second, "the replica has lost its primary", func() bool {
		err = do(c, "GET", "app:k")
		return err != nil
	})
	wantClass(t, err, redstart.ErrUnavailable, "MASTERDOWN")
}

func TestA2_PasswordMissing(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--requirepass", "hunter2")
	_, err := redstart.Open(t.Context(), redstart.Config{URL: "redis://" + s.Addr()})
	wantClass(t, err, redstart.ErrDenied, "NOAUTH")
}

func TestA2_WrongKindOfPort(t *testing.T) {
	t.Parallel()
	secure, plain := rig.TLS(t), rig.Shared(t)
	_, err := redstart.Open(t.Context(), redstart.Config{URL: "rediss://" + plain.Addr()})
	wantClass(t, err, redstart.ErrUnavailable, "")
	_, err = redstart.Open(t.Context(), redstart.Config{URL: "redis://" + secure.Addr()})
	wantClass(t, err, redstart.ErrUnavailable, "") // the server's alert names TLS, unless its reset overtakes it
}

func TestA2_ClusterBehindAPlainURL(t *testing.T) {
	t.Parallel()
	_, err := redstart.Open(t.Context(), redstart.Config{URL: "redis://" + rig.SharedCluster(t).Nodes()[0].Addr()})
	if err == nil || !strings.Contains(err.Error(), "redis+cluster://") {
		t.Errorf("Open gave %v", err)
	}
}

func TestA2_TooLarge(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--proto-max-bulk-len", "1mb")
	c := open(t, redstart.Config{URL: s.URL()})
	err := do(c, "APPEND", "app:k", strings.Repeat("x", 1<<19))
	for range 3 {
		if err == nil {
			err = do(c, "APPEND", "app:k", strings.Repeat("x", 1<<19))
		}
	}
	wantClass(t, err, redstart.ErrTooLarge, "maximum allowed size")
}

// The keys of one call must be in one slot (A4). Otherwise the server refuses the call and changes
// nothing.
func TestA4_KeysOfTwoSlotsAreRefused(t *testing.T) {
	t.Parallel()
	c := open(t, redstart.Config{URL: rig.SharedCluster(t).URL()})
	defer func() {
		if recover() == nil {
			t.Error("keys of two slots went into one command")
		}
	}()
	_, _ = clientcore.Of(c).Eval(t.Context(), setScript, []string{"app:{a}", "app:{b}"}, []string{"x"})
}

func TestCallsSucceedAfterFlushAll(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	c := open(t, redstart.Config{URL: s.URL()})
	for range 3 {
		if err := eval(c, setScript, "app:k", "x"); err != nil {
			t.Fatal(err)
		}
		s.CLI("FLUSHALL")
		if err := do(c, "GET", "app:k"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestA6_ScriptsRunAfterAFailover(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	set := rig.NewSentinel(t)
	c := open(t, redstart.Config{URL: set.URL()})
	if err := eval(c, setScript, "app:k", "x"); err != nil {
		t.Fatal(err)
	}
	set.Failover()
	for _, s := range set.Servers() {
		s.CLI("SCRIPT", "FLUSH")
	}
	rig.Eventually(t, 20*time.Second, "the script runs on the new primary", func() bool {
		err := eval(c, setScript, "app:k", "x")
		if err != nil && strings.Contains(err.Error(), "NOSCRIPT") {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestMetricsShowTheBreaker(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	c := open(t, redstart.Config{URL: s.URL(), CommandTimeout: 100 * time.Millisecond})
	value := func(name string) float64 {
		for m := range c.Metrics() {
			if m.Name == name {
				return m.Value
			}
		}
		t.Errorf("no metric %s", name)
		return 0
	}
	if open, opened := value("redstart.breaker.open"), value("redstart.breaker.opened"); open != 0 || opened != 0 {
		t.Errorf("at first: open %v, opened %v", open, opened)
	}
	s.Stop()
	_ = do(c, "GET", "app:k")
	open, opened, timeouts := value("redstart.breaker.open"), value("redstart.breaker.opened"), value("redstart.calls.timeouts")
	if open != 1 || opened != 1 || timeouts != 1 {
		t.Errorf("while the server is stopped: open %v, opened %v, timeouts %v", open, opened, timeouts)
	}
	s.Continue()
	rig.Eventually(t, 5*time.Second, "the breaker closes", func() bool { return value("redstart.breaker.open") == 0 })
}

// Without an Observer, tracing allocates nothing.
func TestTracingWithoutObserverAllocatesNothing(t *testing.T) {
	c := open(t, redstart.Config{URL: rig.Shared(t).URL()})
	op := observe.Operation{Pattern: "cache", Name: "get"}
	if n := testing.AllocsPerRun(1000, func() {
		_, end := clientcore.Of(c).Start(t.Context(), op)
		end(nil)
	}); n != 0 {
		t.Errorf("an operation without an observer allocates %v times", n)
	}
}

func TestA6_ScriptsRunAfterAScriptFlush(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	c := open(t, redstart.Config{URL: s.URL()})
	for range 3 {
		s.CLI("SCRIPT", "FLUSH")
		if err := eval(c, setScript, "app:k", "x"); err != nil {
			t.Fatal(err)
		}
		s.CLI("SCRIPT", "FLUSH")
		calls := make([]core.Call, 50)
		for i := range calls {
			calls[i] = core.Call{Keys: []string{fmt.Sprint("app:", i)}, Args: []string{"x"}}
		}
		for i, r := range clientcore.Of(c).EvalMulti(t.Context(), setScript, calls) {
			if _, err := r.Get(); err != nil {
				t.Fatalf("call %d: %v", i, err)
			}
		}
	}
	if n := s.CLI("DBSIZE"); n != "51" {
		t.Errorf("%s keys", n)
	}
}

func TestA3_LostAnswerIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	p := rig.NewProxy(t, s.Addr())
	c := open(t, redstart.Config{URL: p.URL(), CommandTimeout: 2 * time.Second})
	for i := 1; i <= 10; i++ {
		rig.Eventually(t, 5*time.Second, "a connection", func() bool { return c.Ping(t.Context()) == nil })
		p.StallReplies()
		lost := make(chan error, 1)
		go func() { lost <- do(c, "INCR", "app:n") }()
		rig.Eventually(t, 5*time.Second, "the server has executed it", func() bool { return s.CLI("GET", "app:n") == fmt.Sprint(i) })
		p.Reset()
		p.Resume()
		wantClass(t, <-lost, redstart.ErrIndeterminate, "")
		rig.Eventually(t, 5*time.Second, "a new connection", func() bool { return c.Ping(t.Context()) == nil })
		if n := s.CLI("GET", "app:n"); n != fmt.Sprint(i) {
			t.Fatalf("after %d calls the counter is %s", i, n)
		}
	}
}

func TestTLSWithClientCertificate(t *testing.T) {
	t.Parallel()
	s := rig.TLS(t)
	files := s.TLS()
	good := redstart.Config{
		URL: s.URL(), TLSCAFile: files.CA, TLSCertFile: files.ClientCert, TLSKeyFile: files.ClientKey,
		CommandTimeout: 5 * time.Second,
	}
	c := open(t, good)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	strangers, err := rig.NewTLSFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.TLSCAFile = strangers.CA
	_, err = redstart.Open(t.Context(), bad)
	wantClass(t, err, redstart.ErrDenied, "certificate")
	bad = good
	bad.TLSCertFile, bad.TLSKeyFile = strangers.ClientCert, strangers.ClientKey
	_, err = redstart.Open(t.Context(), bad)
	wantClass(t, err, redstart.ErrDenied, "")
	bad = good
	bad.TLSCAFile = filepath.Join(t.TempDir(), "absent.pem")
	if _, err = redstart.Open(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "TLSCAFile") {
		t.Errorf("an absent file gave %v", err)
	}
}

func TestCredentialsRotate(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	s.CLI("ACL", "SETUSER", "rotating", "on", ">first", "~*", "&*", "+@all")
	var password atomic.Value
	password.Store("first")
	c := open(t, redstart.Config{URL: s.URL(), Credentials: func(context.Context) (redstart.Credentials, error) {
		return redstart.Credentials{Username: "rotating", Password: password.Load().(string)}, nil
	}})
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.CLI("ACL", "SETUSER", "rotating", "resetpass", ">second")
	s.CLI("CLIENT", "KILL", "USER", "rotating")
	var err error
	rig.Eventually(t, 5*time.Second, "the old password is refused", func() bool {
		err = c.Ping(t.Context())
		return errors.Is(err, redstart.ErrDenied)
	})
	wantClass(t, err, redstart.ErrDenied, "WRONGPASS")
	password.Store("second")
	rig.Eventually(t, 5*time.Second, "the new password is used", func() bool { return c.Ping(t.Context()) == nil })
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	c := open(t, redstart.Config{URL: s.URL()})
	codes := ""
	for _, w := range c.Warnings() {
		codes += w.Code + " "
	}
	if codes != "eviction persistence " {
		t.Errorf("warnings: %v", c.Warnings())
	}
	quiet := open(t, redstart.Config{URL: rig.Standalone(t, "--appendonly", "yes").URL()})
	if w := quiet.Warnings(); len(w) != 0 {
		t.Errorf("warnings: %v", w)
	}
}

func TestLazyClusterAndSentinel(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{
		"cluster":  "redis+cluster://127.0.0.1:1",
		"sentinel": "redis+sentinel://127.0.0.1:1/mymaster/0",
	} {
		c := open(t, redstart.Config{URL: url, Lazy: true})
		if err := do(c, "GET", "app:{k}"); !errors.Is(err, redstart.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := open(t, redstart.Config{URL: rig.SharedCluster(t).URL(), Lazy: true})
	if err := do(c, "GET", "app:{k}"); err != nil {
		t.Error(err)
	}
}
