package session

import (
	"net/http"
	"strings"
	"time"
)

// Browsers cut longer lives (RFC 6265bis, section 5.5).
const maxCookieAge = 400 * 24 * time.Hour

// session is the cookie for a token that lives so long, 0 without end, or the one that deletes it.
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

// remember is the cookie for a remember-me token, or the one that deletes it.
func (c *CookieOptions) remember(token string, life time.Duration) *http.Cookie {
	cookie := c.base(c.RememberName, token)
	if cookie.MaxAge = -1; token != "" {
		cookie.MaxAge = max(1, int(min(life, maxCookieAge)/time.Second))
	}
	return cookie
}

func (c *CookieOptions) base(name, value string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: c.Path, Domain: c.Domain, SameSite: c.SameSite, Secure: !c.Insecure, HttpOnly: true, Partitioned: c.Partitioned}
}

// cookieToken finds a cookie that looks like a token, in place, without allocating. Two different ones under one
// name mean that somebody else has set one of them (a sister domain, an outer path): then it is none, because there
// is no telling which.
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
