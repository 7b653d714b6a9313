package shop

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/session"
)

// Visit is what a session holds beside its user.
type Visit struct {
	Plan string // the user's when he logged in
}

func newSessions(client *redstart.Client, opts Options) (*session.Manager[Visit], error) {
	return session.New[Visit](client, "shop", session.Options{
		IdleTimeout: 12 * time.Hour,
		Lifetime:    7 * 24 * time.Hour,
		MaxPerUser:  50,
		Cookie:      session.CookieOptions{Insecure: opts.InsecureCookies, Persistent: true},
		// While Redis does not answer, what anybody may read can still be read. What needs a login asks Degraded and is refused.
		Outage: session.AnonymousReadOnly,
		Skip: func(r *http.Request) bool {
			return strings.HasPrefix(r.URL.Path, "/assets/") || r.URL.Path == "/livez" || r.URL.Path == "/readyz"
		},
	})
}

// SessionUser is what sessions call the user with this id.
func SessionUser(id int64) string { return strconv.FormatInt(id, 10) }
