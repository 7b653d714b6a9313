package endpoint

import (
	"net/url"
	"strings"
)

// escape percent-encodes all characters except letters, digits and -_.~. The result fits at any
// place of a URL.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escapePath is like escape, but keeps slashes.
func escapePath(s string) string { return strings.ReplaceAll(escape(s), "%2F", "/") }

// escapeHost encodes the zone of an IPv6 address. No other part of a host needs it.
func escapeHost(s string) string { return strings.ReplaceAll(s, "%", "%25") }

// unescape is the opposite of escape. A plus sign stays, because passwords may hold it. The error
// of net/url repeats its input, so callers must not pass it on.
func unescape(s string) (string, error) { return url.PathUnescape(s) }
