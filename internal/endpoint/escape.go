package endpoint

import (
	"net/url"
	"strings"
)

// escape is percent-encoding of everything but letters, digits and -_.~, for any place in a URL.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escapePath leaves the slashes of a path.
func escapePath(s string) string { return strings.ReplaceAll(escape(s), "%2F", "/") }

// escapeHost writes the zone of an IPv6 address; nothing else of a host needs it.
func escapeHost(s string) string { return strings.ReplaceAll(s, "%", "%25") }

// unescape is the opposite of escape. A plus sign is itself, also in the query: passwords hold it.
// The error of net/url repeats what it could not read, so it goes no further than its callers here.
func unescape(s string) (string, error) { return url.PathUnescape(s) }
