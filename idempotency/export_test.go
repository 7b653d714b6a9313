package idempotency

import (
	"net/http"
	"net/http/httptest"
)

// KeyOf parses the field of a request.
func KeyOf(lines []string, unquoted bool) (key string, present bool, err error) {
	return keyOf(http.Header{keyField: lines}, unquoted)
}

// KeyOnServer returns the key of the record of a scope and an Idempotency-Key.
func (e *Executor) KeyOnServer(scope, key string) string { return e.record(scope, key, "").key }

// Fingerprint returns the fingerprint of a request.
func (e *Executor) Fingerprint(r *http.Request) (string, error) { return e.fingerprint(r) }

// Pending returns the number of writes that are tried again in the background.
func (e *Executor) Pending() int64 { return e.pending.Load() }

// MaxPending is the limit of Pending.
const MaxPending = maxPending

// Scripts are the scripts by name.
var Scripts = map[string]string{"begin": beginLua, "renew": renewLua, "store": storeLua, "release": releaseLua}

// Encode returns the form in which a response is stored, and Decode reads it.
func Encode(status int, before, after http.Header, body string) (code, header, text string) {
	return newResult(status, before, after, body).encode()
}

// Decode replays a stored response.
func Decode(status int, header, body string) (*httptest.ResponseRecorder, error) {
	res, err := decodeResult(status, header, body)
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	res.replay(w)
	return w, nil
}
