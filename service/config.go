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

// config is what the environment and the flags say; a flag wins over the environment, the environment over a default.
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

const usage = `The Redstart shop: a small service on Redstart's patterns.

Usage: go run ./service [flags]
The environment variable in brackets does the same as its flag; the flag wins.

  --addr host:port       where to listen [ADDR], default 127.0.0.1:8080
  --debug-addr host:port where to answer profilers (/debug/pprof/) and Prometheus (/metrics) [DEBUG_ADDR], a loopback address;
                         default nowhere
  --redis-url url        Redis or Valkey behind the caches [REDIS_URL]; without one, an embedded engine:
                         in memory, lost at exit, for development
                           redis://user:password@host:6379/0
                           redis+cluster://host:7000,host:7001
                           redis+sentinel://host:26379,host:26379/master/0
  --database-url url     where users and orders are kept [DATABASE_URL], default sqlite:shop.db
                           sqlite:<file>
                           postgres://user:password@host:5432/database
  --demo                 sample data with a public login, live figures, traffic and "break Redis" on the page [DEMO], default
                         false; it needs a loopback --addr and answers only requests of this machine that name it
  --db-latency duration  with --demo, how much longer each statement takes, as on a database on another machine [DB_LATENCY], default
                         3ms on SQLite, where it would otherwise be a file in this process, and 0 on PostgreSQL
  --seed=false           with --demo, leave an empty database empty [SEED], default true
  --log-level level      DEBUG, INFO, WARN or ERROR [LOG_LEVEL], default INFO; DEBUG logs each request
  --cookies mode         secure: for HTTPS alone; insecure: for plain HTTP too [COOKIES]; default insecure where the
                         shop listens on loopback, else secure: put a proxy with TLS in front
  --trusted-proxies list addresses of proxies whose X-Forwarded-For is believed [TRUSTED_PROXIES]: 10.0.0.0/8,::1/128
  --instance name        what this process is called in the orders that it processed [INSTANCE], default host/process id
  --help                 this text

Passwords belong in the environment: other users of the machine can read a process's flags.
REDIS_POOL_SIZE, REDIS_NAMESPACE, REDIS_COMMAND_TIMEOUT and the other variables of redstart.Config hold too.
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
		return config{}, fmt.Errorf("%w; --help lists the flags", err)
	case flags.NArg() > 0:
		return config{}, fmt.Errorf("unexpected argument %q; --help lists the flags", flags.Arg(0))
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

// dbLatency is what each statement takes longer.
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

// nearUsers is the number of users that the near cache holds; 0: the shop's default. A demo's near cache holds a tenth of its users,
// so that Redis has a share in what the page shows.
func (cfg config) nearUsers() int {
	if !cfg.Demo {
		return 0
	}
	return store.SampleUsers / 10
}

// insecureCookies says whether the session's cookie may travel over plain HTTP.
func (cfg config) insecureCookies(listener net.Listener) bool {
	if cfg.Cookies != "" {
		return cfg.Cookies == "insecure"
	}
	at, ok := listener.Addr().(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}

// prefixes is a list of networks on the command line.
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

// setFromEnv sets each flag whose variable is set: REDIS_URL is --redis-url.
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

// variable is what a flag is called in the environment.
func variable(f *flag.Flag) string { return strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")) }
