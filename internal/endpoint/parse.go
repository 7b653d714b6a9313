package endpoint

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	defaultHost         = "localhost"
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
)

const forms = "redis://, rediss://, valkey://, valkeys:// (each also with +sentinel or +cluster) or unix://"

var (
	errScheme   = errors.New("the URL must begin with " + forms)
	errEncoding = errors.New("the user name or the password is not percent-encoded: " +
		`write "/" as %2F, "?" as %3F, "#" as %23, "@" as %40, "%" as %25`)
	errFragment = errors.New(`the URL holds a "#": in a password write %23`)
	errHost     = errors.New("a host is not a name, an IPv4 address or an IPv6 address in brackets")
	errPort     = errors.New("a port is not a number from 1 to 65535")
	errDB       = errors.New("the database is not a number from 0 on")
	errEscape   = errors.New("a percent sign is not followed by two hexadecimal digits")
	errControl  = errors.New("the URL holds a control character or invalid UTF-8")
)

// Parse parses a URL. Its errors repeat no part of the URL except the names of unknown query
// parameters.
func Parse(raw string) (Endpoint, error) {
	var e parser
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, unicode.IsControl) {
		return Endpoint{}, errControl
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || !e.setScheme(strings.ToLower(scheme)) {
		return Endpoint{}, errScheme
	}
	if strings.Contains(rest, "#") {
		return Endpoint{}, errFragment
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	// An @ after the authority may mean that the authority ended inside a password. The rest may
	// then belong to the password, so it is not parsed and no error can repeat it.
	if strings.Contains(path, "@") || strings.Contains(query, "@") {
		return Endpoint{}, errEncoding
	}
	for _, step := range []func() error{
		func() error { return e.setAuthority(authority) },
		func() error { return e.setPath(path) },
		func() error { return e.setQuery(query) },
	} {
		if err := step(); err != nil {
			return Endpoint{}, err
		}
	}
	return e.Endpoint, nil
}

type parser struct {
	Endpoint
	dbSet bool // the path names the database
}

func (e *parser) setScheme(scheme string) bool {
	base, mode, extended := strings.Cut(scheme, "+")
	e.Network = "tcp"
	switch base {
	case "redis", "valkey":
	case "rediss", "valkeys":
		e.TLS = true
	case "unix":
		e.Network = "unix"
		return !extended
	default:
		return false
	}
	switch {
	case !extended:
		return true
	case mode == "sentinel":
		e.Mode = Sentinel
	case mode == "cluster":
		e.Mode = Cluster
	default:
		return false
	}
	return true
}

func (e *parser) setAuthority(authority string) (err error) {
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		hosts = authority[i+1:]
		user, password, _ := strings.Cut(authority[:i], ":")
		if strings.Contains(authority[:i], "@") {
			return errEncoding
		}
		if e.Username, err = unescape(user); err != nil {
			return errEncoding
		}
		if e.Password, err = unescape(password); err != nil {
			return errEncoding
		}
	}
	if e.Network == "unix" {
		if hosts != "" {
			return errors.New("a unix URL has no host: write unix:///path/to/socket with three slashes")
		}
		return nil
	}
	port := defaultPort
	if e.Mode == Sentinel {
		port = defaultSentinelPort
	}
	list := strings.Split(hosts, ",")
	if len(list) > 1 && e.Mode == Standalone {
		return errors.New("several hosts need a redis+cluster:// or redis+sentinel:// URL")
	}
	for _, host := range list {
		if host == "" && len(list) > 1 {
			return errors.New("an entry of the list of hosts is empty")
		}
		addr, err := parseAddr(host, port)
		if err != nil {
			return err
		}
		e.Addrs = append(e.Addrs, addr)
	}
	return nil
}

// parseAddr parses host, host:port, [v6], [v6]:port or :port.
func parseAddr(s, port string) (string, error) {
	host, after := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", errHost
		}
		host, after = s[1:end], s[end+1:]
		host, err := unescape(host) // a zone is written %25eth0
		if err != nil {
			return "", errHost
		}
		if ip, _, _ := strings.Cut(host, "%"); !strings.Contains(ip, ":") || net.ParseIP(ip) == nil ||
			!plainHost(strings.ReplaceAll(host, "%", "")) {
			return "", errHost
		}
		if after != "" && after[0] != ':' {
			return "", errHost
		}
		if after != "" {
			if port, err = parsePort(after[1:]); err != nil {
				return "", err
			}
		}
		return net.JoinHostPort(host, port), nil
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		host, after = s[:i], s[i+1:]
		if strings.Contains(after, ":") {
			return "", errors.New("an IPv6 host must stand in brackets, as in [::1]:6379")
		}
		var err error
		if port, err = parsePort(after); err != nil {
			return "", err
		}
	}
	if host == "" {
		host = defaultHost
	}
	if !plainHost(host) {
		return "", errHost
	}
	return net.JoinHostPort(host, port), nil
}

func parsePort(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return "", errPort
	}
	return strconv.FormatUint(n, 10), nil
}

// plainHost refuses characters that no host has. Without it, a mistake would appear as the failure
// of a strange lookup.
func plainHost(s string) bool {
	for _, r := range s {
		if r <= ' ' || strings.ContainsRune(`"%&'()*+;<=>@[]\^{|}~$!`+"`", r) || !unicode.IsPrint(r) {
			return false
		}
	}
	return s != ""
}

func (e *parser) setPath(path string) (err error) {
	if e.Network == "unix" {
		if path == "" || path == "/" {
			return errors.New("a unix URL needs the path of the socket: unix:///path/to/socket")
		}
		if path, err = unescape(path); err != nil {
			return errEscape
		}
		e.Addrs = []string{path}
		return nil
	}
	path = strings.TrimPrefix(path, "/")
	if e.Mode == Sentinel {
		master, db, _ := strings.Cut(path, "/")
		if master == "" {
			return errors.New("a sentinel URL needs the name of the master: redis+sentinel://host:26379/mymaster/0")
		}
		if e.MasterSet, err = unescape(master); err != nil {
			return errEscape
		}
		path = db
	}
	if path == "" {
		return nil
	}
	e.dbSet = true
	return e.setDB(path)
}

func (e *parser) setDB(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || s[0] == '+' {
		return errDB
	}
	if n != 0 && e.Mode == Cluster {
		return errors.New("a cluster has only database 0")
	}
	e.DB = int(n)
	return nil
}

func (e *parser) setQuery(query string) error {
	if query == "" {
		return nil
	}
	seen := map[string]bool{}
	for param := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(param, "=")
		if seen[name] {
			return fmt.Errorf("the query parameter %s is there twice", shown(name))
		}
		seen[name] = true
		value, err := unescape(value)
		if err != nil {
			return errEscape
		}
		switch {
		case name == "db":
			if value == "" {
				return errDB
			}
			if e.dbSet {
				return errors.New("the database is in the path and in the query: one of them is enough")
			}
			if err := e.setDB(value); err != nil {
				return err
			}
		case name == "sentinel_username" && e.Mode == Sentinel:
			e.SentinelUsername = value
		case name == "sentinel_password" && e.Mode == Sentinel:
			e.SentinelPassword = value
		default:
			return fmt.Errorf("unknown query parameter %s: known are db and, for sentinel, sentinel_username "+
				"and sentinel_password", shown(name))
		}
	}
	return nil
}

// shown quotes the name of a parameter if it looks like a name. Other text may be a part of a
// secret.
func shown(name string) string {
	if name == "" || len(name) > 32 {
		return "(not shown)"
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return "(not shown)"
		}
	}
	return strconv.Quote(name)
}
