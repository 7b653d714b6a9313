package web

import (
	"errors"
	"net/http"

	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/service/internal/store"
)

// orderProblem maps the errors of orders to problems.
func orderProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, "you have no order with this id")
	case errors.Is(err, store.ErrProcessed):
		return newProblem(http.StatusConflict, "the order is already processed")
	case errors.Is(err, lock.ErrNotAcquired):
		return newProblem(http.StatusConflict, "the order is being processed. Reload it in a moment")
	case errors.Is(err, lock.ErrLost):
		return newProblem(http.StatusServiceUnavailable, "the lock of the order was lost. Reload the order and try again")
	}
	return err
}
