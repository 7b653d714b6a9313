// Package local recognizes requests of this machine, for the controls of the demo, for profiles and
// for metrics.
package local

import (
	"net"
	"net/http"
	"net/netip"
)

// Peer reports whether the request's connection comes from a loopback address.
func Peer(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// Host reports whether the request names a loopback host. A page of another site whose name
// resolves to this machine (DNS rebinding) sends the name of its own site.
func Host(r *http.Request) bool { return IsLoopback(hostname(r.Host)) }

// forwardedBy are the headers that proxies add. Behind a proxy, the peer is the proxy and not the
// client.
var forwardedBy = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// Forwarded reports whether a proxy has forwarded the request.
func Forwarded(r *http.Request) bool {
	for _, name := range forwardedBy {
		if r.Header.Get(name) != "" {
			return true
		}
	}
	return false
}

// IsLoopback reports whether a host name or address is this machine's loopback.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// Only calls next for requests that come directly from this machine and name it, and refuse for all
// other requests.
func Only(next, refuse http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Peer(r) && Host(r) && !Forwarded(r) {
			next.ServeHTTP(w, r)
			return
		}
		refuse.ServeHTTP(w, r)
	})
}

func hostname(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil { // no port
		host = hostport
	}
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return host
}
