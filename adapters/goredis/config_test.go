package redstartgoredis_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"github.com/redstart-go/redstart"
	redstartgoredis "github.com/redstart-go/redstart/adapters/goredis"
	"github.com/redstart-go/redstart/internal/rig"
)

// client returns a go-redis client that is closed with the test.
func client(t *testing.T, opt *redis.Options) *redis.Client {
	c := redis.NewClient(opt)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	s := rig.Shared(t)
	rdb := client(t, &redis.Options{Addr: s.Addr(), DB: 3, ClientName: "shop", ReadTimeout: 7 * time.Second})
	cfg, err := redstartgoredis.ConfigFrom(rdb)
	works(t, cfg, err)
	if cfg.URL != "redis://"+s.Addr()+"/3" || cfg.CommandTimeout != 7*time.Second || cfg.Protocol != 0 || cfg.Dialer != nil {
		t.Errorf("%v", cfg)
	}
	if list := s.CLI("CLIENT", "LIST"); !strings.Contains(list, "name=shop:main") {
		t.Errorf("no connection has the name shop:main:\n%s", list)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	cfg, err := redstartgoredis.ConfigFrom(client(t, &redis.Options{Network: "unix", Addr: rig.Shared(t).Socket(), DB: 2}))
	works(t, cfg, err)
	if !strings.HasSuffix(cfg.URL, "?db=2") {
		t.Error(cfg.URL)
	}
}

func TestRESP2(t *testing.T) {
	t.Parallel()
	cfg, err := redstartgoredis.ConfigFrom(client(t, &redis.Options{Addr: rig.Shared(t).Addr(), Protocol: 2}))
	if c := works(t, cfg, err); c.Capabilities().Tracking {
		t.Error("the client uses RESP3")
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	var addrs []string
	for _, node := range rig.SharedCluster(t).Nodes() {
		addrs = append(addrs, node.Addr())
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer rdb.Close()
	cfg, err := redstartgoredis.ConfigFrom(rdb)
	if c := works(t, cfg, err); len(c.Nodes()) < 3 {
		t.Errorf("nodes %v, want those of the cluster", c.Nodes())
	}
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(rig.SharedSentinel(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(at.Path, "/"), "/")
	opt := &redis.FailoverOptions{MasterName: name, SentinelAddrs: strings.Split(at.Host, ","), DB: 1}
	cfg, err := redstartgoredis.ConfigFrom(opt)
	works(t, cfg, err)

	rdb := redis.NewFailoverClient(opt)
	defer rdb.Close()
	if _, err := redstartgoredis.ConfigFrom(rdb); err == nil || !strings.Contains(err.Error(), "FailoverOptions") {
		t.Errorf("a failover client: %v, want an error that names FailoverOptions", err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := rig.TLS(t)
	config, err := s.TLS().Config()
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := redstartgoredis.ConfigFrom(client(t, &redis.Options{Addr: s.Addr(), TLSConfig: config}))
	works(t, cfg, err)
	if cfg.TLS != config || cfg.Dialer != nil || !strings.HasPrefix(cfg.URL, "rediss://") {
		t.Errorf("TLS is not carried over as a configuration: %v", cfg)
	}

	// a dialer of the user has TLS of its own in go-redis
	dials := atomic.Int64{}
	dialer := redis.NewDialer(&redis.Options{TLSConfig: config, DialTimeout: time.Second})
	cfg, err = redstartgoredis.ConfigFrom(client(t, &redis.Options{Addr: s.Addr(), TLSConfig: config,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return dialer(ctx, network, addr)
		}}))
	works(t, cfg, err)
	if dials.Load() == 0 {
		t.Error("the dialer was not called")
	}
}

func TestClusterOverTLS(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cluster := rig.NewCluster(t, rig.NoReplicas(), rig.OverTLS())
	var addrs []string
	for _, node := range cluster.Nodes() {
		addrs = append(addrs, node.Addr())
	}
	config, err := cluster.Nodes()[0].TLS().Config()
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, TLSConfig: config})
	defer rdb.Close()
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	cfg, err := redstartgoredis.ConfigFrom(rdb)
	if c := works(t, cfg, err); len(c.Nodes()) < 3 {
		t.Errorf("nodes %v, want those of the cluster", c.Nodes())
	}
	if cfg.TLS != config || cfg.Dialer != nil || !strings.HasPrefix(cfg.URL, "rediss+cluster://") {
		t.Errorf("TLS is not carried over as a configuration: %v", cfg)
	}
}

func TestSentinelOverTLS(t *testing.T) {
	t.Parallel()
	sentinel := rig.NewSentinelTLS(t)
	var addrs []string
	for _, one := range sentinel.Sentinels() {
		addrs = append(addrs, one.Addr())
	}
	config, err := sentinel.Servers()[0].TLS().Config()
	if err != nil {
		t.Fatal(err)
	}
	opt := &redis.FailoverOptions{MasterName: rig.MasterName, SentinelAddrs: addrs, TLSConfig: config}
	rdb := redis.NewFailoverClient(opt)
	defer rdb.Close()
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	cfg, err := redstartgoredis.ConfigFrom(opt)
	works(t, cfg, err)
	if cfg.TLS != config || cfg.Dialer != nil || !strings.HasPrefix(cfg.URL, "rediss+sentinel://") {
		t.Errorf("TLS is not carried over as a configuration: %v", cfg)
	}
	sentinel.Failover()
	works(t, cfg, nil)
}

// provider is a streaming provider that counts its subscriptions.
type provider struct {
	user, password string
	open           atomic.Int64
	asked          atomic.Int64
}

func (p *provider) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	p.open.Add(1)
	p.asked.Add(1)
	return auth.NewBasicCredentials(p.user, p.password), func() error { p.open.Add(-1); return nil }, nil
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	s := rig.Standalone(t)
	s.CLI("ACL", "SETUSER", "ada", "on", ">secret", "~*", "&*", "+@all")
	s.CLI("ACL", "SETUSER", "default", "on", "resetpass", ">other")
	streaming := &provider{user: "ada", password: "secret"}
	wrong := func() (string, string) { return "ada", "wrong" }
	right := func(context.Context) (string, string, error) { return "ada", "secret", nil }
	for name, opt := range map[string]*redis.Options{
		"static":                {Username: "ada", Password: "secret"},
		"password alone":        {Password: "other"},
		"provider":              {CredentialsProvider: func() (string, string) { return "ada", "secret" }},
		"context before plain":  {CredentialsProviderContext: right, CredentialsProvider: wrong},
		"streaming before both": {StreamingCredentialsProvider: streaming, CredentialsProvider: wrong, Username: "x", Password: "y"},
	} {
		opt.Addr = s.Addr()
		cfg, err := redstartgoredis.ConfigFrom(client(t, opt))
		if c := works(t, cfg, err); c == nil {
			t.Error(name)
		}
	}
	if streaming.asked.Load() == 0 || streaming.open.Load() != 0 {
		t.Errorf("%d subscriptions of %d are open", streaming.open.Load(), streaming.asked.Load())
	}

	cfg, err := redstartgoredis.ConfigFrom(client(t, &redis.Options{Addr: s.Addr(), CredentialsProvider: wrong}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := redstart.Open(t.Context(), cfg); !errors.Is(err, redstart.ErrDenied) {
		t.Errorf("a wrong password: %v, want ErrDenied", err)
	}
}

// A provider of a cluster's client, and of the options for Sentinel, logs in on all servers.
func TestCredentialsOfClusterAndSentinel(t *testing.T) {
	t.Parallel()
	provider := func() (string, string) { return "goredis", "secret" }
	addrsOf := func(servers []*rig.Server) (addrs []string) {
		for _, s := range servers {
			addrs = append(addrs, s.Addr())
		}
		return addrs
	}
	grant := func(servers []*rig.Server) {
		for _, s := range servers {
			s.CLI("ACL", "SETUSER", "goredis", "on", ">secret", "~*", "&*", "+@all")
		}
	}
	check := func(cfg redstart.Config, err error) {
		t.Helper()
		client, err := works(t, cfg, err).Redis(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		user, err := client.Do(t.Context(), client.B().AclWhoami().Build()).ToString()
		if err != nil || user != "goredis" {
			t.Errorf("logged in as %q, %v, want goredis", user, err)
		}
	}

	nodes := rig.SharedCluster(t).Nodes()
	grant(nodes)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrsOf(nodes), CredentialsProvider: provider})
	defer rdb.Close()
	check(redstartgoredis.ConfigFrom(rdb))

	sentinel := rig.SharedSentinel(t)
	grant(sentinel.Servers())
	check(redstartgoredis.ConfigFrom(&redis.FailoverOptions{MasterName: rig.MasterName,
		SentinelAddrs: addrsOf(sentinel.Sentinels()), CredentialsProvider: provider}))
}

// A provider without a context can't hold up a caller beyond its context.
func TestCredentialsHang(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	cfg, err := redstartgoredis.ConfigFrom(client(t, &redis.Options{CredentialsProvider: func() (string, string) {
		<-release
		return "", ""
	}}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cfg.Credentials(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func TestOptionsThatCannotBeCarriedOver(t *testing.T) {
	t.Parallel()
	hook := func(context.Context, *redis.Conn) error { return nil }
	newClient := func(opt *redis.Options) *redis.Client { return redis.NewClient(opt) }
	slots := func(context.Context) ([]redis.ClusterSlot, error) { return nil, errors.New("no slots") }
	cluster := func(opt *redis.ClusterOptions) error {
		c := redis.NewClusterClient(opt)
		defer c.Close()
		_, err := redstartgoredis.ConfigFrom(c)
		return err
	}
	_, onConnect := redstartgoredis.ConfigFrom(client(t, &redis.Options{OnConnect: hook}))
	_, replicas := redstartgoredis.ConfigFrom(&redis.FailoverOptions{ReplicaOnly: true})
	_, missing := redstartgoredis.ConfigFrom((*redis.Client)(nil))
	for name, err := range map[string]error{
		"OnConnect": onConnect, "ReplicaOnly": replicas, "nil": missing,
		"ClusterSlots": cluster(&redis.ClusterOptions{ClusterSlots: slots}),
		"NewClient":    cluster(&redis.ClusterOptions{NewClient: newClient}),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
}
