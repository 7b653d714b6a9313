package redstart

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/redstart-go/redstart/observe"
)

// The defaults of the fields of Config.
const (
	defaultURL            = "redis://localhost:6379/0"
	defaultPoolSize       = 10
	defaultNamespace      = "app"
	defaultClientName     = "redstart"
	defaultCommandTimeout = 500 * time.Millisecond
)

// Config says which server a [Client] uses, and how. The zero Config is a server on localhost.
// [ConfigFromEnv] reads the environment variables that the fields name. [Open] reads none.
//
// A Config contains secrets. Its methods String, GoString and LogValue hide them.
type Config struct {
	// URL says where the servers are. Default redis://localhost:6379/0.
	//
	//	redis://[user[:password]@]host[:port][/db]       one server; valkey:// is the same
	//	rediss://…                                       with TLS; valkeys:// is the same
	//	unix://[user[:password]@]/path/to/socket[?db=n]  one server, by socket
	//	redis+sentinel://…host[:port],…/master[/db]      ?sentinel_username=…&sentinel_password=… for the sentinels
	//	redis+cluster://…host[:port],…                   seed nodes of a cluster
	//
	// rediss, valkey and valkeys combine with +sentinel and +cluster too. Several hosts may have
	// IPv6 addresses: redis+cluster://[::1]:7000,[::1]:7001. User names and passwords are
	// percent-encoded.
	URL string `env:"REDIS_URL"`
	// Username and Password replace the user name and the password of URL, each if it is not empty.
	Username string `env:"REDIS_USERNAME"`
	Password string `env:"REDIS_PASSWORD"`
	// Credentials returns the user name and the password, if it is not nil. The client calls it for
	// each new connection. It calls it again for each open connection when RefreshAfter has passed,
	// at most half a second later, and sends AUTH. If Credentials fails, the last credentials stay
	// in use, and the client asks again. One call runs at a time, for at most 10 s, or
	// CommandTimeout if that is longer; connections share its answer. While a call is slow, the
	// last credentials are used. Credentials excludes Username, Password and the user name and
	// password of URL.
	Credentials func(ctx context.Context) (Credentials, error)

	// TLS is the base of the TLS configuration. The files below add to it. It needs a URL with TLS.
	TLS *tls.Config
	// TLSCAFile is a file with the certificates (PEM) of the trusted authorities. They replace the
	// authorities of the system.
	TLSCAFile string `env:"REDIS_TLS_CA_FILE"`
	// TLSCertFile and TLSKeyFile are files with the client's certificate and its key (PEM). Set
	// both or none.
	TLSCertFile string `env:"REDIS_TLS_CERT_FILE"`
	TLSKeyFile  string `env:"REDIS_TLS_KEY_FILE"`
	// TLSServerName is the name that the server's certificate must have. Default: the host of URL.
	TLSServerName string `env:"REDIS_TLS_SERVER_NAME"`

	// Dialer opens each connection instead of [net.Dialer], if it is not nil: through a proxy or a
	// tunnel, or to a server in this process (embedded.Server.Dial). The network is "tcp" or
	// "unix". The client adds TLS to the connection. Dialer must return when its ctx ends. Its
	// error is [ErrUnavailable], and so is its panic.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

	// Protocol is the version of the protocol: 2 or 3. Zero tries RESP3, and uses RESP2 if the
	// server, or a proxy before it, refuses HELLO. With RESP2 the server can't push invalidations:
	// near caches are off, waiters poll, and Pub/Sub has a connection of its own. A proxy that ends
	// the connection at HELLO needs 2.
	Protocol int `env:"REDIS_PROTOCOL"`
	// Assume says what the server offers, for a server that must not be asked. If its Server is not
	// empty, [Open] sends neither INFO nor a trial of CLIENT TRACKING. With RESP2, Tracking is
	// false in any case.
	Assume Capabilities
	// ClientName is the first part of the names of the connections in CLIENT LIST, before ":main"
	// and the like. It has no spaces. Default "redstart".
	ClientName string `env:"REDIS_CLIENT_NAME"`

	// Namespace is the first part of each key and channel, at most 128 bytes. Default "app".
	Namespace string `env:"REDIS_NAMESPACE"`
	// PoolSize is how many connections per node the blocking reads may use, at least 1. Default 10.
	// Ordinary commands share one connection per node.
	PoolSize int `env:"REDIS_POOL_SIZE"`
	// CommandTimeout is the time limit of each command, at least 1 ms. Default 500 ms. An earlier
	// deadline of the caller's context wins.
	CommandTimeout time.Duration `env:"REDIS_COMMAND_TIMEOUT"`
	// Lazy makes Open return without a connection. The first call connects.
	Lazy bool `env:"REDIS_LAZY_CONNECT"`

	// Logger receives what an operator should know: lost connections, features that are off. Nil
	// logs nothing. One goroutine per client calls its handler, so a slow handler delays no call.
	// While 256 lines wait for the handler, further lines are dropped; the attribute "dropped" of a
	// later line counts them. Close waits up to 0.3 s for the lines that wait.
	Logger *slog.Logger
	// Observer receives the start and the end of each operation. Nil costs nothing.
	Observer observe.Observer
}

// Credentials are a user name and a password. After RefreshAfter the client asks
// [Config.Credentials] again, for new and for existing connections. A zero RefreshAfter is never.
type Credentials struct {
	Username     string
	Password     string `json:"-"`
	RefreshAfter time.Time
}

// String returns the user name and the time, and hides the password.
func (c Credentials) String() string {
	s := "user " + strconv.Quote(c.Username)
	if !c.RefreshAfter.IsZero() {
		s += ", refresh after " + c.RefreshAfter.Format(time.RFC3339)
	}
	return s
}

// GoString hides the password.
func (c Credentials) GoString() string { return "redstart.Credentials{" + c.String() + "}" }

// LogValue hides the password.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// ConfigFromEnv returns a Config with the fields that have an environment variable. An unset or
// empty variable leaves its field zero, which is the default. ConfigFromEnv does not connect and
// reads no file.
//
// The error names each invalid variable. It shows no value of a variable that may contain a secret.
func ConfigFromEnv() (Config, error) {
	var cfg Config
	if err := env.Parse(&cfg); err != nil {
		return Config{}, envError(err)
	}
	if err := cfg.withDefaults().validate(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// envError names, for each error of package env, the field, its variable and the reason.
func envError(err error) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return fmt.Errorf("redstart: environment: %w", err)
	}
	var named []error
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			named = append(named, fmt.Errorf("redstart: environment: %w", err))
			continue
		}
		named = append(named, fieldError(parse.Name, parse.Err.Error()))
	}
	return errors.Join(named...)
}

// fieldError names a field and its environment variable. The text must not contain a secret.
func fieldError(field, text string) error {
	name := "Config." + field
	if f, ok := reflect.TypeFor[Config]().FieldByName(field); ok {
		if variable := f.Tag.Get("env"); variable != "" {
			name += " (" + variable + ")"
		}
	}
	return fmt.Errorf("redstart: %s: %s", name, text)
}

// withDefaults returns a Config with the defaults in its zero fields.
func (c Config) withDefaults() Config {
	if c.URL == "" {
		c.URL = defaultURL
	}
	if c.PoolSize == 0 {
		c.PoolSize = defaultPoolSize
	}
	if c.Namespace == "" {
		c.Namespace = defaultNamespace
	}
	if c.ClientName == "" {
		c.ClientName = defaultClientName
	}
	if c.CommandTimeout == 0 {
		c.CommandTimeout = defaultCommandTimeout
	}
	return c
}

// validate returns an error that names each invalid field of a Config with defaults. It reads no
// file.
func (c Config) validate() error {
	var bad []error
	complain := func(field, format string, args ...any) {
		bad = append(bad, fieldError(field, fmt.Sprintf(format, args...)))
	}
	endpoint, err := c.endpoint()
	if err != nil {
		bad = append(bad, err)
	}
	if c.PoolSize < 1 {
		complain("PoolSize", "%d: must be at least 1", c.PoolSize)
	}
	if c.CommandTimeout < time.Millisecond {
		complain("CommandTimeout", "%v: must be at least 1ms", c.CommandTimeout)
	}
	if c.Protocol != 0 && c.Protocol != 2 && c.Protocol != 3 {
		complain("Protocol", "%d: must be 2 or 3, or 0 to find out", c.Protocol)
	}
	if strings.ContainsFunc(c.ClientName, func(r rune) bool { return r <= ' ' || r > '~' }) || len(c.ClientName) > maxClientName {
		complain("ClientName", "%q: must have at most %d printable ASCII characters, and no space", c.ClientName, maxClientName)
	}
	if c.Assume.Server == "" && c.Assume != (Capabilities{}) {
		complain("Assume", "set without Server: name the server, such as redis")
	}
	if len(c.Namespace) > maxNamespace {
		complain("Namespace", "%d bytes long, limit is %d: use a shorter one", len(c.Namespace), maxNamespace)
	}
	if err == nil && c.Credentials != nil && (endpoint.Username != "" || endpoint.Password != "") {
		complain("Credentials", "set together with a user name or a password: set one of them")
	}
	if err == nil && !endpoint.TLS {
		for _, f := range []struct {
			field string
			set   bool
		}{
			{"TLS", c.TLS != nil}, {"TLSCAFile", c.TLSCAFile != ""}, {"TLSCertFile", c.TLSCertFile != ""},
			{"TLSKeyFile", c.TLSKeyFile != ""}, {"TLSServerName", c.TLSServerName != ""},
		} {
			if f.set {
				complain(f.field, "set, but the URL has no TLS: use a rediss:// URL")
			}
		}
	}
	if c.TLSCertFile != "" && c.TLSKeyFile == "" {
		complain("TLSKeyFile", "empty, but Config.TLSCertFile (REDIS_TLS_CERT_FILE) is set: set both or none")
	}
	if c.TLSKeyFile != "" && c.TLSCertFile == "" {
		complain("TLSCertFile", "empty, but Config.TLSKeyFile (REDIS_TLS_KEY_FILE) is set: set both or none")
	}
	return errors.Join(bad...)
}

// maxNamespace is the limit of package keys for a part of a key, in bytes.
const maxNamespace = 128

// maxClientName is the limit of Config.ClientName, in bytes.
const maxClientName = 64
