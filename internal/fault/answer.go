package fault

import (
	"errors"
	"strings"

	"github.com/redis/rueidis"
)

// Answer is an error reply of a server, without changes.
type Answer string

// Error returns the server's text without the code "ERR", which has no meaning.
func (a Answer) Error() string { return strings.TrimPrefix(string(a), "ERR ") }

// answer returns the text of an error reply in err.
func answer(err error) (text string, ok bool) {
	if a, ok := errors.AsType[Answer](err); ok {
		return a.Error(), true
	}
	if r, ok := errors.AsType[*rueidis.RedisError](err); ok {
		return r.Error(), true
	}
	return "", false
}

// Text returns the error reply in err, or "" if err holds none.
func Text(err error) string {
	text, _ := answer(err)
	return text
}

// Code returns the code that begins the error reply in err ("WRONGTYPE", "MOVED"), or "" if err
// holds none.
func Code(err error) string {
	code, _, _ := strings.Cut(Text(err), " ")
	return code
}
