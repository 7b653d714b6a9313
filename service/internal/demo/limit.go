package demo

import (
	"net/http"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/ratelimit"
)

// LimitStory is a handler with a small limit and two plans. The page shows the headers of its
// responses.
type LimitStory struct{ free, pro *ratelimit.Limiter }

func newLimitStory(client *redstart.Client) (*LimitStory, error) {
	s := &LimitStory{}
	var err error
	s.free, s.pro, err = openLimits(client)
	return s, err
}

// account is the key of the limit: the account of a request has the name of its plan.
func account(r *http.Request) string {
	if r.URL.Query().Get("plan") == "pro" {
		return "account-pro"
	}
	return "account-free"
}

// planOf returns the limiter of the plan of a request.
func (s *LimitStory) planOf(r *http.Request) *ratelimit.Limiter {
	if account(r) == "account-pro" {
		return s.pro
	}
	return s.free
}

// LimitCounts are the requests of the story so far, by the place of the decision.
type LimitCounts struct {
	Allowed  int64 `json:"allowed"`  // by Redis
	Refused  int64 `json:"refused"`  // by Redis
	Locally  int64 `json:"locally"`  // refused from memory, without a round trip
	Degraded int64 `json:"degraded"` // passed without a limit, because Redis did not answer
}

// Counts returns the counts of both plans together.
func (s *LimitStory) Counts() LimitCounts {
	n := s.free.Stats() // both plans have the same counters
	return LimitCounts{n.Allowed + n.Leased, n.Refused, n.RefusedLocally, n.Degraded}
}
