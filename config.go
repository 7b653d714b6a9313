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
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/redstart-go/redstart/observe"
)

// Defaults of Config's zero fields.
const (
	DefaultURL            = "redis://localhost:6379/0"
	DefaultPoolSize       = 10
	DefaultNamespace      = "app"
	DefaultCommandTimeout = 500 * time.Millisecond
)

// Config says which server a Client uses and how. The zero Config is a server on localhost. The
// environment variable of each field is what ConfigFromEnv reads; Open itself reads none.
//
// A Config holds secrets. Its String, GoString and LogValue hide them.
type Config struct {
	// URL says where the servers are; default redis://localhost:6379/0.
	//
	//	redis://[user[:password]@]host[:port][/db]       one server; valkey:// is the same
	//	rediss://…                                       with TLS; valkeys:// is the same
	//	unix://[user[:password]@]/path/to/socket[?db=n]  one server, by socket
	//	redis+sentinel://…host[:port],…/master[/db]      ?sentinel_username=…&sentinel_password=… for the sentinels' own
	//	redis+cluster://…host[:port],…                   seed nodes of a cluster
	//
	// rediss, valkey and valkeys combine with +sentinel and +cluster too. Several hosts may be
	// IPv6: redis+cluster://[::1]:7000,[::1]:7001. User names and passwords are percent-encoded.
	URL string `env:"REDIS_URL"`
	// Username and Password, where set, stand in for those of URL.
	Username string `env:"REDIS_USERNAME"`
	Password string `env:"REDIS_PASSWORD"`
	// Credentials, if not nil, is asked for user name and password when a connection is made and
	// whenever RefreshAfter has passed. It excludes Username, Password and those of URL.
	Credentials func(ctx context.Context) (Credentials, error)

	// TLS is the base of the TLS configuration; it needs a URL with TLS. The files below add to it.
	TLS *tls.Config
	// TLSCAFile holds the certificates (PEM) of the authorities that are trusted, instead of the
	// system's.
	TLSCAFile string `env:"REDIS_TLS_CA_FILE"`
	// TLSCertFile and TLSKeyFile hold the client's certificate and its key (PEM).
	TLSCertFile string `env:"REDIS_TLS_CERT_FILE"`
	TLSKeyFile  string `env:"REDIS_TLS_KEY_FILE"`
	// TLSServerName is the name that the server's certificate must have; default the URL's host.
	TLSServerName string `env:"REDIS_TLS_SERVER_NAME"`

	// Dialer, if not nil, opens every connection in place of net.Dialer: through a proxy or a
	// tunnel, or to a server in this process, as embedded.Server.Dial does. Network is "tcp" or
	// "unix". TLS is added to what it returns. It must end with its ctx, which bounds the attempt;
	// its error is ErrUnavailable, and so is a panic.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)

	// Namespace is the first part of every key and channel; default "app".
	Namespace string `env:"REDIS_NAMESPACE"`
	// PoolSize is how many connections per node blocking reads may use; default 10. Ordinary
	// commands share one.
	PoolSize int `env:"REDIS_POOL_SIZE"`
	// CommandTimeout bounds every command; default 500 ms. An earlier deadline of a ctx wins.
	CommandTimeout time.Duration `env:"REDIS_COMMAND_TIMEOUT"`
	// Lazy lets Open succeed without a server; the first call connects.
	Lazy bool `env:"REDIS_LAZY_CONNECT"`

	// Logger gets what an operator should know: lost connections, switched-off features. Nil logs
	// nothing. Its handler is called from one goroutine per client, so that a slow one delays no
	// call. While 256 lines wait for it, further lines are dropped; the attribute dropped of a
	// later line counts them. Close waits up to 0.3 s for the rest.
	Logger *slog.Logger
	// Observer is told of every operation; nil costs nothing.
	Observer observe.Observer
}

// Credentials are a user name and a password, and until when they are good for new connections and
// for the existing ones. A zero RefreshAfter is for ever.
type Credentials struct {
	Username     string
	Password     string `json:"-"`
	RefreshAfter time.Time
}

// String hides the password.
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

// ConfigFromEnv reads the fields that have an environment variable. An unset or empty variable
// leaves its field zero, which is the default. The error names every bad variable and shows no
// value of a variable that may hold a secret. Nothing is connected and no file is read.
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

// envError says what env says in our words: the field, its variable, and why.
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

// fieldError names a field and the variable that may have set it. what must hold no secret.
func fieldError(field, what string) error {
	name := "Config." + field
	if f, ok := reflect.TypeFor[Config]().FieldByName(field); ok {
		if variable := f.Tag.Get("env"); variable != "" {
			name += " (" + variable + ")"
		}
	}
	return fmt.Errorf("redstart: %s: %s", name, what)
}

// withDefaults fills the zero fields.
func (c Config) withDefaults() Config {
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.PoolSize == 0 {
		c.PoolSize = DefaultPoolSize
	}
	if c.Namespace == "" {
		c.Namespace = DefaultNamespace
	}
	if c.CommandTimeout == 0 {
		c.CommandTimeout = DefaultCommandTimeout
	}
	return c
}

// validate names every bad field of a Config with defaults. It reads no file.
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
	if len(c.Namespace) > maxNamespace {
		complain("Namespace", "%d bytes long: must be at most %d", len(c.Namespace), maxNamespace)
	}
	if err == nil && c.Credentials != nil && (endpoint.Username != "" || endpoint.Password != "") {
		complain("Credentials", "set beside a user name or password: one of them is enough")
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
				complain(f.field, "set, but the URL is without TLS: use a rediss:// URL")
			}
		}
	}
	if c.TLSCertFile != "" && c.TLSKeyFile == "" {
		complain("TLSKeyFile", "empty, but REDIS_TLS_CERT_FILE is set: both or none")
	}
	if c.TLSKeyFile != "" && c.TLSCertFile == "" {
		complain("TLSCertFile", "empty, but REDIS_TLS_KEY_FILE is set: both or none")
	}
	return errors.Join(bad...)
}

// maxNamespace is what package keys allows for a part of a key.
const maxNamespace = 128
