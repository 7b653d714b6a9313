package ratelimit

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// KeyFunc returns the key that a request counts against. It returns [ErrNoKey] if the request has
// none.
//
// [ClientAddress], [Header], [By] and [Route] return the usual ones. [Join] and [FirstOf] combine
// several.
type KeyFunc func(r *http.Request) (string, error)

// ClientAddress returns the client's address as the key (R6). Without trusted proxies, it is the
// address of the connection. If the connection comes from a trusted proxy, ClientAddress reads
// X-Forwarded-For from the right, up to the first address that is not a trusted proxy. Addresses
// left of it were written by the client and are ignored.
//
// IPv4 addresses that are mapped into IPv6 or translated by NAT64 (64:ff9b::/96) count as IPv4.
// Other IPv6 addresses count by their /64, which is what one customer has. The key is "1.2.3.4" or
// "2001:db8:1:2::/64". Empty elements of the field are skipped. At an unreadable element, the last
// trusted hop is the key.
//
// A connection over a unix socket counts as one from 127.0.0.1. If 127.0.0.1 is a trusted proxy,
// X-Forwarded-For of the front end counts. Otherwise, and if the field has no client, the error is
// [ErrNoKey].
func ClientAddress(trusted ...netip.Prefix) KeyFunc {
	proxies := make([]netip.Prefix, len(trusted))
	for i, p := range trusted {
		proxies[i] = p.Masked()
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			proxies[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
		}
	}

	isProxy := func(a netip.Addr) bool {
		for _, p := range proxies {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}

	return func(r *http.Request) (string, error) {
		client, ok := remoteAddr(r.RemoteAddr)
		local := !ok && overSocket(r)
		if local {
			client, ok = loopback, isProxy(loopback)
		}
		if !ok {
			return "", fmt.Errorf("%w: the connection's address is %.64q", ErrNoKey, r.RemoteAddr)
		}
		if isProxy(client) {
			client = forwarded(r.Header["X-Forwarded-For"], client, isProxy)
		}
		if local && client == loopback {
			return "", fmt.Errorf("%w: the front end on the unix socket names no client in X-Forwarded-For", ErrNoKey)
		}
		return addressKey(client), nil
	}
}

// forwarded reads the field from the right. from is the hop that sent it.
func forwarded(lines []string, from netip.Addr, isProxy func(netip.Addr) bool) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; {
			var hop string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, hop = rest[:at], rest[at+1:]
			} else {
				hop, more = rest, false
			}
			if hop = strings.Trim(hop, " \t"); hop == "" {
				continue // an empty element is ignored (RFC 9110, 5.6.1)
			}
			addr, ok := hopAddr(hop)
			if !ok {
				return from
			}
			if from = addr; !isProxy(addr) {
				return addr
			}
		}
	}

	return from
}

// hopAddr parses "1.2.3.4", "1.2.3.4:80", "2001:db8::1", "[2001:db8::1]" and "[2001:db8::1]:80".
func hopAddr(s string) (netip.Addr, bool) {
	if len(s) > 64 {
		return netip.Addr{}, false
	}

	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}

	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}

	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if a, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil && a.Is6() {
			return a.Unmap().WithZone(""), true
		}
	}

	return netip.Addr{}, false
}

func remoteAddr(s string) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return ap.Addr().Unmap().WithZone(""), true
}

// nat64 is the well-known prefix of RFC 6052. The last four bytes are the IPv4 address of a client
// behind a translator.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// loopback stands for a connection over a unix socket, because both come from this machine.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// overSocket reports whether a request came over a unix socket.
func overSocket(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && at.Network() == "unix"
}

func addressKey(a netip.Addr) string {
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:])).String()
	}
	if a.Is4() {
		return a.String()
	}
	return netip.PrefixFrom(a, 64).Masked().String()
}

// Header returns a hash of a header field as the key, for example of an API key. The value itself
// is neither stored nor listed. If the field is missing or empty, the error is [ErrNoKey]. If it
// occurs several times, the first value counts.
func Header(name string) KeyFunc {
	name = http.CanonicalHeaderKey(name)
	return func(r *http.Request) (string, error) {
		value := r.Header.Get(name)
		if value == "" {
			return "", fmt.Errorf("%w: no %s field", ErrNoKey, name)
		}
		return hashed(value), nil
	}
}

func hashed(value string) string {
	sum := sha256.Sum256([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// By returns the result of who as the key: a user, a session's public id, a tenant. For "" the
// error is [ErrNoKey]. A value longer than 128 bytes is stored as "h:" and its hash, and so is a
// value that begins with "h:", so the two never collide. Do not return a secret: keys are visible
// in Redis and in [Stats].
func By(who func(r *http.Request) string) KeyFunc {
	return func(r *http.Request) (string, error) {
		value := who(r)
		switch {
		case value == "":
			return "", ErrNoKey
		case len(value) > 128 || strings.HasPrefix(value, "h:"):
			return "h:" + hashed(value), nil
		}
		return value, nil
	}
}

// Route returns the pattern of mux that serves the request as the key, such as "GET /users/{id}".
// It is not the path, which a client can vary without a bound. Pass mux if the middleware is
// outside of it. With nil, Route reads Request.Pattern, which is set for handlers inside a mux.
// Requests without a pattern share one key.
func Route(mux *http.ServeMux) KeyFunc {
	return func(r *http.Request) (string, error) {
		pattern := r.Pattern
		if mux != nil {
			_, pattern = mux.Handler(r)
		}
		if pattern == "" {
			return "(none)", nil
		}
		return pattern, nil
	}
}

// Join combines all keys into one: for example a client per route. Different keys never join to the
// same key. If one of them returns [ErrNoKey], so does Join.
func Join(keys ...KeyFunc) KeyFunc {
	return func(r *http.Request) (string, error) {
		var b strings.Builder
		for i, key := range keys {
			part, err := key(r)
			if err != nil {
				return "", err
			}
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(strconv.Itoa(len(part)))
			b.WriteByte('=')
			b.WriteString(part)
		}
		return b.String(), nil
	}
}

// FirstOf returns the first key that is not [ErrNoKey]: for example the user, or else the address.
// Keys of different positions never collide.
func FirstOf(keys ...KeyFunc) KeyFunc {
	return func(r *http.Request) (string, error) {
		err := ErrNoKey
		for i, key := range keys {
			var part string
			if part, err = key(r); err == nil {
				return strconv.Itoa(i) + "=" + part, nil
			}
			if !errors.Is(err, ErrNoKey) {
				break
			}
		}
		return "", err
	}
}
