package console

import (
	"context"
	"errors"
	"net/http"

	"github.com/redstart-go/redstart"
)

// explain returns what an error means for the reader of a page, and what to do.
func explain(err error) string {
	switch {
	case errors.Is(err, redstart.ErrDenied):
		return "The ACL of this user denies it: " + printable(err.Error(), 400)
	case errors.Is(err, redstart.ErrUnavailable):
		return "Redis is unavailable: " + printable(err.Error(), 400)
	case errors.Is(err, redstart.ErrIndeterminate):
		return "The repair was sent and its reply was lost. It may have happened: read the state before you repeat it."
	case errors.Is(err, context.DeadlineExceeded):
		return "Redis did not answer in time. Try again."
	case errors.Is(err, context.Canceled):
		return "The request has ended."
	}
	return printable(err.Error(), 400)
}

// statusOf returns the status of a response for an error of a repair.
func statusOf(err error) int {
	switch {
	case errors.Is(err, redstart.ErrDenied):
		return http.StatusForbidden
	case errors.Is(err, redstart.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	case errors.Is(err, redstart.ErrIndeterminate):
		return http.StatusGatewayTimeout
	}
	return http.StatusConflict
}
