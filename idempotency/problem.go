package idempotency

import (
	"encoding/json"
	"net/http"
)

// problem is a kind of answer of this package.
type problem struct {
	status     int
	code       string // constant, for programs
	title      string
	retryAfter bool
}

var (
	problemMissing   = problem{status: http.StatusBadRequest, code: "key-missing", title: "The request needs an Idempotency-Key"}
	problemMalformed = problem{status: http.StatusBadRequest, code: "key-malformed", title: "The Idempotency-Key cannot be read"}
	problemNoScope   = problem{status: http.StatusBadRequest, code: "no-client",
		title: "The request does not say which client its Idempotency-Key belongs to"}
	problemScope = problem{status: http.StatusInternalServerError, code: "scope-failed",
		title: "The client of the Idempotency-Key cannot be found"}
	problemBody = problem{status: http.StatusBadRequest, code: "body-unreadable",
		title: "The body of the request cannot be read"}
	problemTooLarge = problem{status: http.StatusRequestEntityTooLarge, code: "body-too-large",
		title: "The body is too large for a request with an Idempotency-Key"}
	problemReused = problem{status: http.StatusUnprocessableEntity, code: "key-reused",
		title: "The Idempotency-Key was used for another request"}
	problemInFlight = problem{status: http.StatusConflict, code: "in-flight",
		title: "A request with this Idempotency-Key is being processed", retryAfter: true}
	problemNotRepeatable = problem{status: http.StatusConflict, code: "not-repeatable",
		title: "The request was executed, and its response cannot be repeated"}
	problemUnavailable = problem{status: http.StatusServiceUnavailable, code: "unavailable",
		title: "The Idempotency-Key cannot be checked at the moment", retryAfter: true}
)

// document is a problem document of RFC 9457.
type document struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
}

// answer sends a problem document. Its type is the link to the documentation that the draft asks
// for.
func (e *Executor) answer(w http.ResponseWriter, p problem, detail string) {
	body, err := json.Marshal(document{e.opt.DocumentationURL, p.title, p.status, detail, p.code})
	if err != nil { // cannot happen: the document has strings and a number
		panic(err)
	}

	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.retryAfter {
		// The time until the end of the handler is not known. Most handlers take less than a
		// second.
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(append(body, '\n')) // a client that has disconnected needs no answer
}
