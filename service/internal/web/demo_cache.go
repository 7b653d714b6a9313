package web

import (
	"net/http"
)

// storyRead reads the user of the cache story through instance A or B.
func (s *server) storyRead(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Instance string `json:"instance"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	if body.Instance != "A" && body.Instance != "B" {
		return newProblem(http.StatusUnprocessableEntity, "instance must be A or B")
	}
	reading, err := s.Demo.Cache.Read(r.Context(), body.Instance)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, reading)
}

// storyRename changes the name of the user of the cache story through instance A.
func (s *server) storyRename(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name string `json:"name"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	renaming, err := s.Demo.Cache.Rename(r.Context(), body.Name)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, renaming)
}

// storyReaders starts 100 readers of a new key.
func (s *server) storyReaders(w http.ResponseWriter, r *http.Request) error {
	crowd, err := s.Demo.Cache.Readers(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, crowd)
}
