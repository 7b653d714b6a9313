package web

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

const maxBody = 16 << 10 // bytes

// decode reads a request's JSON body into target. Every error is a *problem.
func decode(w http.ResponseWriter, r *http.Request, target any) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" && mediaType != "application/merge-patch+json" {
		return newProblem(http.StatusUnsupportedMediaType, "send Content-Type: application/json")
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&target); err != nil {
		return decodeProblem(err)
	}
	if target == nil { // null would leave every field as it is, which is no request
		return newProblem(http.StatusBadRequest, "the body must be a JSON object")
	}
	switch _, err := decoder.Token(); {
	case err == nil:
		return newProblem(http.StatusBadRequest, "the body goes on after its JSON object")
	case !errors.Is(err, io.EOF):
		return decodeProblem(err)
	}
	return nil
}

func decodeProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(http.StatusRequestEntityTooLarge, "the body may have at most %d bytes", tooLarge.Limit)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return newProblem(http.StatusBadRequest, "the body must be a JSON object")
		}
		return newProblem(http.StatusBadRequest, "%s must not be a JSON %s", wrong.Field, wrong.Value)
	}
	if field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return newProblem(http.StatusBadRequest, "there is no field %s", field)
	}
	if errors.Is(err, io.EOF) {
		return newProblem(http.StatusBadRequest, "the body is empty")
	}
	return newProblem(http.StatusBadRequest, "the body is not JSON")
}

// text is a string field of a merge patch (RFC 7396), where a missing field means "as it is" and null means "remove",
// which none of ours can be.
type text struct{ value *string }

func (t *text) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return newProblem(http.StatusUnprocessableEntity, "a field that is null would be removed; leave it out to keep it")
	}
	return json.Unmarshal(data, &t.value)
}
