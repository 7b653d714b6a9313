package web

import (
	"net/http"
)

// storyServed answers a request that the limit of the story admitted.
func (s *server) storyServed(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]bool{"served": true})
}

// storyCounts returns the requests of the rate limit story so far.
func (s *server) storyCounts(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, s.Demo.Limit.Counts())
}
