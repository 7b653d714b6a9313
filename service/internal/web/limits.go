package web

import (
	"net/http"
	"strings"

	"github.com/redstart-go/redstart/ratelimit"
)

// limited bounds what one user, or one address of visitors, may ask of the API. The user's plan decides how much.
func (s *server) limited(next http.Handler) http.Handler {
	user := ratelimit.By(func(r *http.Request) string { return s.Shop.Sessions.FromContext(r.Context()).User() })
	limit := ratelimit.MiddlewareFor(ratelimit.FirstOf(user, s.client), func(r *http.Request) *ratelimit.Limiter {
		if !strings.HasPrefix(r.URL.Path, "/api/") && !(r.URL.Path == "/" && r.URL.RawQuery != "") { // the page of any user is a read like the API's
			return nil
		}
		visit, err := s.Shop.Sessions.FromContext(r.Context()).Data(r.Context())
		if err != nil {
			s.Log.WarnContext(r.Context(), "a session's data can't be read: the free plan's limits hold", "error", err)
		}
		return s.Shop.Limiters.API(visit.Plan)
	})
	return limit(next)
}
