package fault

import (
	"errors"
	"strings"

	"github.com/redis/rueidis"
)

// Answer is an error reply of a server, as it came.
type Answer string

// Error is the server's text without the code "ERR", which says nothing.
func (a Answer) Error() string { return strings.TrimPrefix(string(a), "ERR ") }

// answer finds the text of an error reply in err.
func answer(err error) (text string, ok bool) {
	if a, ok := errors.AsType[Answer](err); ok {
		return a.Error(), true
	}
	if r, ok := errors.AsType[*rueidis.RedisError](err); ok {
		return r.Error(), true
	}
	return "", false
}

// Text is the error reply in err, or "" if the server answered no error.
func Text(err error) string {
	text, _ := answer(err)
	return text
}

// Code is the first word of the error reply in err ("WRONGTYPE", "MOVED"), or "" if the server answered no error.
func Code(err error) string {
	code, _, _ := strings.Cut(Text(err), " ")
	return code
}
