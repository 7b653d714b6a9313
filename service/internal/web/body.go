package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

const maxBody = 16 << 10 // bytes

// decode decodes the JSON body of a request into target. Every error is a *problem.
func decode(w http.ResponseWriter, r *http.Request, target any) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" && mediaType != "application/merge-patch+json" {
		return newProblem(http.StatusUnsupportedMediaType, "send Content-Type: application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return decodeProblem(err)
	}
	if !utf8.Valid(body) { // package json would replace the invalid bytes
		return newProblem(http.StatusBadRequest, "the body is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&target); err != nil {
		return decodeProblem(err)
	}
	if target == nil { // the body is null, which would change nothing
		return newProblem(http.StatusBadRequest, "the body must be a JSON object")
	}
	switch _, err := decoder.Token(); {
	case err == nil:
		return newProblem(http.StatusBadRequest, "the body has text after its JSON object")
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
		return newProblem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
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

// text is a string field of a merge patch (RFC 7396). In a merge patch, a missing field stays the
// same and null removes the field. No field of a user can be removed.
type text struct{ value *string }

func (t *text) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return newProblem(http.StatusUnprocessableEntity, "a field must not be null; omit a field to keep its value")
	}
	return json.Unmarshal(data, &t.value)
}
