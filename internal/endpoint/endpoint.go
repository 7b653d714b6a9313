// Package endpoint parses the URLs of servers.
//
//	redis://[user[:password]@]host[:port][/db]            one server; valkey:// is the same
//	rediss://…                                            with TLS; so is valkeys://
//	unix://[user[:password]@]/path/to/socket[?db=n]       one server, by socket
//	redis+sentinel://[user[:password]@]host[:port],…/master[/db][?sentinel_username=…&sentinel_password=…]
//	redis+cluster://[user[:password]@]host[:port],…
//
// rediss, valkey and valkeys combine with +sentinel and +cluster too. IPv6 hosts have brackets.
// net/url refuses a list of such hosts, so this package has its own parser. User names and
// passwords are percent-encoded.
//
// No error repeats a part of the URL that may belong to a password. A missing percent-encoding
// moves all boundaries behind it.
package endpoint

import (
	"strconv"
	"strings"
)

// Mode is how the servers of an [Endpoint] work together.
type Mode uint8

const (
	Standalone Mode = iota // one server
	Sentinel               // sentinels, which know the primary
	Cluster                // seed nodes of a cluster
)

// String returns "standalone", "sentinel" or "cluster".
func (m Mode) String() string {
	switch m {
	case Standalone:
		return "standalone"
	case Sentinel:
		return "sentinel"
	case Cluster:
		return "cluster"
	}
	return "Mode(" + strconv.Itoa(int(m)) + ")"
}

// Endpoint is the content of a URL.
type Endpoint struct {
	Mode    Mode
	Network string   // "tcp" or "unix"
	Addrs   []string // host:port, or the path of the socket
	TLS     bool

	Username, Password string
	DB                 int

	MasterSet                          string // Sentinel only
	SentinelUsername, SentinelPassword string // Sentinel only
}

// hidden replaces a password.
const hidden = "***"

// String returns the URL in its normal form, without the passwords. It is for logs and messages.
func (e Endpoint) String() string { return e.url(func(string) string { return hidden }) }

// URL returns the URL that [Parse] reads as e. It contains the passwords, so it is a secret.
func (e Endpoint) URL() string { return e.url(escape) }

func (e Endpoint) url(secret func(string) string) string {
	var b strings.Builder
	switch {
	case e.Network == "unix":
		b.WriteString("unix")
	case e.TLS:
		b.WriteString("rediss")
	default:
		b.WriteString("redis")
	}
	if e.Mode != Standalone {
		b.WriteString("+" + e.Mode.String())
	}
	b.WriteString("://")
	if e.Username != "" || e.Password != "" {
		b.WriteString(escape(e.Username))
		if e.Password != "" {
			b.WriteString(":" + secret(e.Password))
		}
		b.WriteByte('@')
	}
	for i, addr := range e.Addrs {
		switch {
		case e.Network == "unix":
			b.WriteString(escapePath(addr))
		case i > 0:
			b.WriteByte(',')
			fallthrough
		default:
			b.WriteString(escapeHost(addr))
		}
	}
	if e.Mode == Sentinel {
		b.WriteString("/" + escape(e.MasterSet))
	}
	var params []string
	switch {
	case e.Network == "unix" && e.DB != 0:
		params = append(params, "db="+strconv.Itoa(e.DB))
	case e.Network != "unix" && e.Mode != Cluster:
		b.WriteString("/" + strconv.Itoa(e.DB))
	}
	if e.SentinelUsername != "" {
		params = append(params, "sentinel_username="+escape(e.SentinelUsername))
	}
	if e.SentinelPassword != "" {
		params = append(params, "sentinel_password="+secret(e.SentinelPassword))
	}
	if len(params) > 0 {
		b.WriteString("?" + strings.Join(params, "&"))
	}
	return b.String()
}
