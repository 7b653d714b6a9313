package session

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// CookieOptions configures the cookies of the tokens. The zero value is as strict as browsers
// allow: name __Host-session, Secure, HttpOnly, SameSite=Lax. The cookie ends when the browser is
// closed.
type CookieOptions struct {
	// Name is the name of the session cookie. Default "__Host-session", with Domain or Path
	// "__Secure-session", with Insecure "session".
	Name string
	// Path is the Path attribute. Default "/".
	Path string
	// Domain is the Domain attribute. Default none: the cookie belongs to the host alone.
	Domain string
	// SameSite is the SameSite attribute: Lax, Strict or None. Default Lax.
	SameSite http.SameSite
	// Persistent makes the cookie survive the end of the browser, until the Lifetime of the
	// session.
	Persistent bool
	// Insecure allows plain HTTP, for development: no Secure attribute, no __Host- prefix.
	Insecure bool
	// Partitioned stores the cookies per embedding site (CHIPS). It needs Secure. A cookie in a
	// frame also needs SameSite None.
	Partitioned bool
	// RememberName is the name of the remember-me cookie. Default: Name with "remember" instead of
	// "session", or Name with "-remember" appended.
	RememberName string
}

const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"

	maxCookieName = 256 // name and value fit into the 4,096 bytes that browsers store
)

func (c CookieOptions) withDefaults() (CookieOptions, error) {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode {
		c.SameSite = http.SameSiteLaxMode
	}
	if c.Name == "" {
		switch {
		case c.Insecure:
			c.Name = "session"
		case c.Domain != "" || c.Path != "/":
			c.Name = securePrefix + "session"
		default:
			c.Name = hostPrefix + "session"
		}
	}
	if c.RememberName == "" {
		if base, ok := strings.CutSuffix(c.Name, "session"); ok {
			c.RememberName = base + "remember"
		} else {
			c.RememberName = c.Name + "-remember"
		}
	}
	if c.RememberName == c.Name {
		return c, fmt.Errorf("session: Options.Cookie.RememberName is %q, the name of the session cookie: use another name",
			c.Name)
	}
	for _, f := range []struct{ field, name string }{{"Name", c.Name}, {"RememberName", c.RememberName}} {
		lower := strings.ToLower(f.name) // browsers compare the prefixes without regard to case
		host, secure := strings.HasPrefix(lower, strings.ToLower(hostPrefix)),
			strings.HasPrefix(lower, strings.ToLower(securePrefix))
		switch {
		case c.Insecure && (host || secure):
			return c, fmt.Errorf("session: Options.Cookie.%s is %q: browsers refuse this prefix with Insecure: remove the prefix",
				f.field, f.name)
		case host && (c.Domain != "" || c.Path != "/"):
			return c, fmt.Errorf("session: Options.Cookie.%s is %q: browsers refuse __Host- with a Domain or a Path other than /: "+
				"use __Secure-", f.field, f.name)
		}
		if len(f.name) > maxCookieName {
			return c, fmt.Errorf("session: Options.Cookie.%s has %d bytes: want at most %d", f.field, len(f.name), maxCookieName)
		}
		probe := http.Cookie{Name: f.name, Value: "v", Path: c.Path, Domain: c.Domain, SameSite: c.SameSite}
		if err := probe.Valid(); err != nil {
			return c, fmt.Errorf("session: Options.Cookie (%s %q, Path %q, Domain %q): %w", f.field, f.name,
				c.Path, c.Domain, err)
		}
	}
	switch {
	case c.Partitioned && c.Insecure:
		return c, fmt.Errorf("session: Options.Cookie.Partitioned is set with Insecure: browsers refuse such a cookie: remove one of them")
	case c.SameSite == http.SameSiteNoneMode && c.Insecure:
		return c, fmt.Errorf("session: Options.Cookie.SameSite is None with Insecure: browsers refuse such a cookie: use Lax")
	case c.SameSite < http.SameSiteLaxMode || c.SameSite > http.SameSiteNoneMode:
		return c, fmt.Errorf("session: Options.Cookie.SameSite is %d: want Lax, Strict or None", c.SameSite)
	}
	return c, nil
}

// Browsers shorten a longer Max-Age (RFC 6265bis, section 5.5).
const maxCookieAge = 400 * 24 * time.Hour

// session returns the cookie of a token. left is the rest of its lifetime, 0 for no limit. An empty
// token deletes the cookie.
func (c *CookieOptions) session(token string, left time.Duration, persistent bool) *http.Cookie {
	cookie := c.base(c.Name, token)
	switch {
	case token == "":
		cookie.MaxAge = -1
	case c.Persistent || persistent:
		age := maxCookieAge
		if left > 0 {
			age = min(age, left)
		}
		cookie.MaxAge = max(1, int(age/time.Second))
	}
	return cookie
}

// remember returns the cookie of a remember-me token. An empty token deletes the cookie.
func (c *CookieOptions) remember(token string, life time.Duration) *http.Cookie {
	cookie := c.base(c.RememberName, token)
	if cookie.MaxAge = -1; token != "" {
		cookie.MaxAge = max(1, int(min(life, maxCookieAge)/time.Second))
	}
	return cookie
}

func (c *CookieOptions) base(name, value string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: c.Path, Domain: c.Domain, SameSite: c.SameSite,
		Secure: !c.Insecure, HttpOnly: true, Partitioned: c.Partitioned}
}

// cookieToken returns the token of the named cookie, or "". It does not allocate. If two cookies of
// the name have different tokens, another site has set one of them (a sister domain or an outer
// path). It is unknown which one, so cookieToken returns "".
func cookieToken(h http.Header, name string) string {
	found := ""
	for _, line := range h["Cookie"] {
		for line != "" {
			var part string
			part, line, _ = strings.Cut(line, ";")
			part = strings.Trim(part, " \t")
			n, value, ok := strings.Cut(part, "=")
			if !ok || n != name {
				continue
			}
			if _, _, ok := parseToken(value); !ok {
				continue
			}
			if found != "" && found != value {
				return ""
			}
			found = value
		}
	}
	return found
}
