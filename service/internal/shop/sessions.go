package shop

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/session"
)

// Visit is the data of a session.
type Visit struct {
	Plan string // the plan of the user at the login
}

func newSessions(client *redstart.Client, opts Options) (*session.Manager[Visit], error) {
	return session.New[Visit](client, "shop", session.Options{
		IdleTimeout: 12 * time.Hour,
		Lifetime:    7 * 24 * time.Hour,
		MaxPerUser:  50,
		Cookie:      session.CookieOptions{Insecure: opts.InsecureCookies, Persistent: true},
		// Without Redis, public data can still be read. A handler that needs a login checks
		// Degraded and refuses.
		Outage: session.AnonymousReadOnly,
		Skip: func(r *http.Request) bool {
			return strings.HasPrefix(r.URL.Path, "/assets/") || r.URL.Path == "/livez" || r.URL.Path == "/readyz"
		},
	})
}

// user is the scope of Idempotency-Keys.
func (s *Shop) user(r *http.Request) (string, error) {
	if user := s.Sessions.FromContext(r.Context()).User(); user != "" {
		return user, nil
	}
	return "", idempotency.ErrNoScope
}

// SessionUser returns the session user of a user id.
func SessionUser(id int64) string { return strconv.FormatInt(id, 10) }
