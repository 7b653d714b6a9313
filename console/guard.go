package console

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
)

// policy makes browsers load only the console's own files. It allows no inline script or style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secured sets the headers of every response, before the role is known.
func secured(header http.Header) {
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Robots-Tag", "noindex")
}

// roleOf asks Options.Authorize. A panic of the function refuses the request.
func (c *Console) roleOf(r *http.Request) (role Role) {
	defer func() {
		if cause := recover(); cause != nil {
			role = NoRole
			c.opt.Logger.ErrorContext(r.Context(), "console: Authorize panicked", "cause", fmt.Sprint(cause),
				"stack", string(debug.Stack()))
		}
	}()
	role, err := c.opt.Authorize(r)
	if err != nil {
		c.opt.Logger.WarnContext(r.Context(), "console: a request was refused", "path", printable(r.URL.Path, maxShown), "error", err)
		return NoRole
	}
	if role > Operator {
		return NoRole
	}
	return role
}

// mayRepair returns the reason why a request of a role may not repair, or "".
func (c *Console) mayRepair(role Role) string {
	switch {
	case c.opt.ReadOnly:
		return "This console is read-only. Start it without ReadOnly to repair."
	case role < Operator:
		return "Your role is viewer. A repair needs the role operator."
	}
	return ""
}

// actorOf names the person behind a request. A panic of Options.Actor falls back to the address.
func (c *Console) actorOf(r *http.Request) (actor string) {
	defer func() {
		if cause := recover(); cause != nil {
			actor = r.RemoteAddr
			c.opt.Logger.ErrorContext(r.Context(), "console: Actor panicked", "cause", fmt.Sprint(cause),
				"stack", string(debug.Stack()))
		}
	}()
	return printable(c.opt.Actor(r), maxShown)
}

// personOf returns whose budget of streams a request uses. It drops the port of an address, which
// differs between the connections of one browser.
func (c *Console) personOf(r *http.Request) string {
	actor := c.actorOf(r)
	if host, _, err := net.SplitHostPort(actor); err == nil {
		return host
	}
	return actor
}

// fromElsewhere reports whether another site has linked to a page. Browsers without the header send
// no answer.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// The numbers of pages that are read at the same time, and of repairs that run at the same time.
const (
	maxReading   = 16
	maxRepairing = 8
)

// turns bounds how many requests do the same work at the same time.
type turns chan struct{}

// enter waits for a turn, at most for pageTime. It reports false if there was none.
func (t turns) enter(ctx context.Context) bool {
	within, cancel := context.WithTimeout(ctx, pageTime)
	defer cancel()
	select {
	case t <- struct{}{}:
		return true
	case <-within.Done():
		return false
	}
}

func (t turns) leave() { <-t }

var errBusy = errors.New("console: too many requests do the same work")

// busy refuses a request that got no turn.
func busy(w http.ResponseWriter, reason string) {
	w.Header().Set("Retry-After", "2")
	http.Error(w, reason, http.StatusServiceUnavailable)
}
