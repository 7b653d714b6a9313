package demo

import (
	"net/http"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
)

func openLimits(
	client *redstart.Client,
) (free, pro *ratelimit.Limiter, err error) {
	free, err = ratelimit.New(client, "story", ratelimit.Options{
		Rules: []ratelimit.Rule{
			{Name: "free", Limit: 10, Window: 10 * time.Second},
		},
		Outage: ratelimit.FailOpen, // without Redis, requests pass
	})
	if err != nil {
		return nil, nil, err
	}
	pro, err = free.With(
		ratelimit.Rule{Name: "pro", Limit: 50, Window: 10 * time.Second})
	return free, pro, err
}

// Handler limits the requests that reach next.
// The parameter plan of a request decides its limit.
func (s *LimitStory) Handler(next http.Handler) http.Handler {
	limited := ratelimit.MiddlewareFor(ratelimit.By(account), s.planOf)
	return limited(next)
}
