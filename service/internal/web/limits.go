package web

import (
	"net/http"
	"strings"

	"github.com/redstart-go/redstart/ratelimit"
)

// limited limits the API requests per user, or per address for visitors. The plan of the user
// decides the limit.
func (s *server) limited(next http.Handler) http.Handler {
	user := ratelimit.By(func(r *http.Request) string { return s.Shop.Sessions.FromContext(r.Context()).User() })
	limit := ratelimit.MiddlewareFor(ratelimit.FirstOf(user, s.client), func(r *http.Request) *ratelimit.Limiter {
		// The page of any user reads a user, as the API does.
		if !strings.HasPrefix(r.URL.Path, "/api/") && !(r.URL.Path == "/" && r.URL.RawQuery != "") {
			return nil
		}
		visit, err := s.Shop.Sessions.FromContext(r.Context()).Data(r.Context())
		if err != nil {
			s.Log.WarnContext(r.Context(), "shop: the data of a session is unreadable, the limits of the free plan apply", "error",
				err)
		}
		return s.Shop.Limiters.API(visit.Plan)
	})
	return limit(next)
}
