package redstartgoredis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"github.com/redstart-go/redstart"
)

// Source is a client of go-redis, or the options of a client for Sentinel.
type Source interface {
	*redis.Client | *redis.ClusterClient | *redis.FailoverOptions
}

// ConfigFrom returns the Config of a Redstart client for the servers of from. It does not connect.
// Set the other fields, such as Namespace, before redstart.Open.
//
// A client of redis.NewFailoverClient does not show its sentinels: pass its options. The error
// names the option of go-redis that Redstart can't carry over.
func ConfigFrom[S Source](from S) (redstart.Config, error) {
	switch from := any(from).(type) {
	case *redis.Client:
		return ofClient(from)
	case *redis.ClusterClient:
		return ofCluster(from)
	case *redis.FailoverOptions:
		return ofFailover(from)
	}
	panic("unreachable: the constraint has three types")
}

// shared are the options that all three kinds of clients have.
type shared struct {
	tls        *tls.Config
	dialer     func(ctx context.Context, network, addr string) (net.Conn, error)
	onConnect  bool
	protocol   int
	clientName string
	timeout    time.Duration
	username   string
	password   string
	provider   func() (string, string)
	contextual func(ctx context.Context) (string, string, error)
	streaming  auth.StreamingCredentialsProvider
}

func ofClient(client *redis.Client) (redstart.Config, error) {
	if client == nil {
		return redstart.Config{}, errNil
	}
	o := client.Options()
	if o.Addr == "FailoverClient" {
		return redstart.Config{}, refused("NewFailoverClient", "the client hides its sentinels: pass its *redis.FailoverOptions")
	}

	cfg, scheme, err := shared{o.TLSConfig, o.Dialer, o.OnConnect != nil, o.Protocol, o.ClientName, o.ReadTimeout,
		o.Username, o.Password, o.CredentialsProvider, o.CredentialsProviderContext, o.StreamingCredentialsProvider,
	}.config()
	if err != nil {
		return redstart.Config{}, err
	}
	if o.Network == "unix" {
		if scheme != "redis" {
			return redstart.Config{}, refused("TLSConfig", "TLS over a socket: use TCP")
		}
		cfg.URL = (&url.URL{Scheme: "unix", Path: o.Addr, RawQuery: "db=" + strconv.Itoa(o.DB)}).String()
		return cfg, nil
	}
	cfg.URL = scheme + "://" + o.Addr + "/" + strconv.Itoa(o.DB)
	return cfg, nil
}

func ofCluster(client *redis.ClusterClient) (redstart.Config, error) {
	if client == nil {
		return redstart.Config{}, errNil
	}
	o := client.Options()
	switch {
	case o.ClusterSlots != nil:
		return redstart.Config{}, refused("ClusterSlots", "Redstart asks the cluster for its slots")
	case o.NewClient != nil && reflect.ValueOf(o.NewClient).Pointer() != reflect.ValueOf(redis.NewClient).Pointer():
		return redstart.Config{}, refused("NewClient", "Redstart opens its own connections: use Dialer")
	}

	cfg, scheme, err := shared{o.TLSConfig, o.Dialer, o.OnConnect != nil, o.Protocol, o.ClientName, o.ReadTimeout,
		o.Username, o.Password, o.CredentialsProvider, o.CredentialsProviderContext, o.StreamingCredentialsProvider,
	}.config()
	if err != nil {
		return redstart.Config{}, err
	}
	cfg.URL = scheme + "+cluster://" + strings.Join(o.Addrs, ",")
	return cfg, nil
}

func ofFailover(o *redis.FailoverOptions) (redstart.Config, error) {
	switch {
	case o == nil:
		return redstart.Config{}, errNil
	case o.ReplicaOnly:
		return redstart.Config{}, refused("ReplicaOnly", "Redstart writes, so it uses the primary")
	}

	cfg, scheme, err := shared{o.TLSConfig, o.Dialer, o.OnConnect != nil, o.Protocol, o.ClientName, o.ReadTimeout,
		o.Username, o.Password, o.CredentialsProvider, o.CredentialsProviderContext, o.StreamingCredentialsProvider,
	}.config()
	if err != nil {
		return redstart.Config{}, err
	}
	if o.ReadTimeout == 0 { // the options have no defaults before NewFailoverClient
		cfg.CommandTimeout = defaultReadTimeout
	}
	query := url.Values{}
	if o.SentinelPassword != "" {
		query.Set("sentinel_password", o.SentinelPassword)
		if o.SentinelUsername != "" {
			query.Set("sentinel_username", o.SentinelUsername)
		}
	}
	cfg.URL = scheme + "+sentinel://" + strings.Join(o.SentinelAddrs, ",") + "/" + url.PathEscape(o.MasterName) +
		"/" + strconv.Itoa(o.DB)
	if len(query) > 0 {
		cfg.URL += "?" + query.Encode()
	}
	return cfg, nil
}

// defaultReadTimeout is the default of go-redis.
const defaultReadTimeout = 5 * time.Second

var errNil = errors.New("goredis: config: the client or its options are nil: pass a client")

func refused(option, what string) error {
	return fmt.Errorf("goredis: config: %s is set: %s", option, what)
}

// config returns the Config without its URL, and the scheme of the URL.
func (s shared) config() (cfg redstart.Config, scheme string, err error) {
	if s.onConnect {
		return redstart.Config{}, "", refused("OnConnect", "Redstart's connections can't run it: use Dialer or a provider of credentials")
	}
	cfg.ClientName = s.clientName
	if s.timeout > 0 {
		cfg.CommandTimeout = s.timeout
	}
	if s.protocol == 2 {
		cfg.Protocol = 2
	}

	scheme = "redis"
	switch {
	case s.dialer != nil && !isDefault(s.dialer): // go-redis leaves TLS to a dialer of the user
		cfg.Dialer = s.dialer
	case s.tls != nil:
		scheme, cfg.TLS = "rediss", s.tls
	}

	cfg.Credentials = s.credentials()
	if cfg.Credentials == nil && s.password != "" { // go-redis sends no login without a password
		cfg.Username, cfg.Password = s.username, s.password
	}
	return cfg, scheme, nil
}

// isDefault reports whether a dialer is the one of go-redis, which a client puts into its options.
// Where this is not recognised, Redstart uses the dialer as it is, which connects to the same
// server with the same TLS.
func isDefault(dialer func(ctx context.Context, network, addr string) (net.Conn, error)) bool {
	fn := runtime.FuncForPC(reflect.ValueOf(dialer).Pointer())
	return fn != nil && strings.HasPrefix(fn.Name(), "github.com/redis/go-redis/v9.") &&
		strings.Contains(fn.Name(), "NewDialer.func")
}
