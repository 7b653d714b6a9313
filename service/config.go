package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/redstart-go/redstart/service/internal/store"
)

// config is the configuration of the shop. A flag overrides the environment, and the environment
// overrides a default.
type config struct {
	Addr        string
	DebugAddr   string
	RedisURL    string
	DatabaseURL string
	Seed        bool
	Demo        bool
	LogLevel    slog.Level
	DBLatency   time.Duration // negative: 3 ms in a demo on SQLite, else none

	Cookies        string // "", "secure" or "insecure"
	TrustedProxies prefixes
	Instance       string
}

const usage = `The Redstart shop is a small service that uses the patterns of Redstart.

Usage: go run ./service [flags]
Each flag has an environment variable, in brackets. The flag overrides the variable.

  --addr host:port       address of the shop [ADDR], default 127.0.0.1:8080
  --debug-addr host:port address for profilers (/debug/pprof/) and Prometheus (/metrics) [DEBUG_ADDR]; it must be a
                         loopback address; default none
  --redis-url url        Redis or Valkey [REDIS_URL]; default an embedded engine, in memory, whose data is lost at exit,
                         for development
                           redis://user:password@host:6379/0
                           redis+cluster://host:7000,host:7001
                           redis+sentinel://host:26379,host:26379/master/0
  --database-url url     database of users and orders [DATABASE_URL], default sqlite:shop.db
                           sqlite:<file>
                           postgres://user:password@host:5432/database
  --demo                 sample data with a public login, live charts, virtual users and a button that stops Redis [DEMO],
                         default false; it needs a loopback --addr and accepts only requests of this machine that name it
  --db-latency duration  with --demo, latency that is added to each statement, to simulate a database on another machine
                         [DB_LATENCY]; default 3ms on SQLite and 0 on PostgreSQL
  --seed=false           with --demo, do not add the sample data to an empty database [SEED], default true
  --log-level level      DEBUG, INFO, WARN or ERROR [LOG_LEVEL], default INFO; DEBUG logs each request
  --cookies mode         secure: only HTTPS; insecure: also plain HTTP [COOKIES]; default insecure on a loopback address,
                         otherwise secure: use a proxy with TLS
  --trusted-proxies list addresses of proxies whose X-Forwarded-For is trusted [TRUSTED_PROXIES]: 10.0.0.0/8,::1/128
  --instance name        name of this process in the orders that it has processed [INSTANCE], default host/process id
  --help                 this text

Put passwords into the environment: other users of the machine can read the flags of a process.
REDIS_POOL_SIZE, REDIS_NAMESPACE, REDIS_COMMAND_TIMEOUT and the other variables of redstart.Config apply too.
`

// readConfig returns flag.ErrHelp after it printed the usage to out.
func readConfig(args []string, out io.Writer) (config, error) {
	var cfg config
	flags := cfg.flags()
	if err := setFromEnv(flags); err != nil {
		return config{}, err
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return config{}, err
	case err != nil:
		return config{}, fmt.Errorf("%w; run with --help for the list of flags", err)
	case flags.NArg() > 0:
		return config{}, fmt.Errorf("unexpected argument %q; run with --help for the list of flags", flags.Arg(0))
	}
	if cfg.Cookies != "" && cfg.Cookies != "secure" && cfg.Cookies != "insecure" {
		return config{}, fmt.Errorf("--cookies %q; want secure or insecure", cfg.Cookies)
	}
	return cfg, nil
}

// flags sets cfg to the defaults and returns the flags that change it.
func (cfg *config) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("shop", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&cfg.Addr, "addr", "127.0.0.1:8080", "")
	flags.StringVar(&cfg.DebugAddr, "debug-addr", "", "")
	flags.StringVar(&cfg.RedisURL, "redis-url", "", "")
	flags.StringVar(&cfg.DatabaseURL, "database-url", "sqlite:shop.db", "")
	flags.BoolVar(&cfg.Seed, "seed", true, "")
	flags.StringVar(&cfg.Cookies, "cookies", "", "")
	flags.StringVar(&cfg.Instance, "instance", "", "")
	flags.Var(&cfg.TrustedProxies, "trusted-proxies", "")
	flags.BoolVar(&cfg.Demo, "demo", false, "")
	flags.DurationVar(&cfg.DBLatency, "db-latency", -1, "")
	flags.TextVar(&cfg.LogLevel, "log-level", slog.LevelInfo, "")
	return flags
}

// dbLatency returns the latency that is added to each statement.
func (cfg config) dbLatency() time.Duration {
	switch {
	case !cfg.Demo:
		return 0
	case cfg.DBLatency >= 0:
		return cfg.DBLatency
	case strings.HasPrefix(cfg.DatabaseURL, "sqlite:"):
		return 3 * time.Millisecond
	}
	return 0
}

// nearUsers returns the size of the near cache in users, 0 for the default of the shop. The near
// cache of a demo holds a tenth of the sample users, so that the charts show hits of Redis too.
func (cfg config) nearUsers() int {
	if !cfg.Demo {
		return 0
	}
	return store.SampleUsers / 10
}

// insecureCookies reports whether browsers may send the session cookie over plain HTTP.
func (cfg config) insecureCookies(listener net.Listener) bool {
	if cfg.Cookies != "" {
		return cfg.Cookies == "insecure"
	}
	at, ok := listener.Addr().(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}

// prefixes is a flag with a list of networks.
type prefixes []netip.Prefix

func (p *prefixes) String() string { return fmt.Sprint(*p) }

func (p *prefixes) Set(list string) error {
	*p = nil
	for text := range strings.SplitSeq(list, ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return err
		}
		*p = append(*p, prefix)
	}
	return nil
}

// setFromEnv sets each flag whose environment variable is set. The variable of --redis-url is
// REDIS_URL.
func setFromEnv(flags *flag.FlagSet) (err error) {
	flags.VisitAll(func(f *flag.Flag) {
		if value := os.Getenv(variable(f)); value != "" {
			if setErr := flags.Set(f.Name, value); setErr != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", variable(f), setErr))
			}
		}
	})
	return err
}

// variable returns the environment variable of a flag.
func variable(f *flag.Flag) string { return strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) }
