package web

import (
	"errors"
	"net/http"

	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/service/internal/store"
)

// orderProblem is problemOf for what can go wrong with an order.
func orderProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return newProblem(http.StatusNotFound, "you have no such order")
	case errors.Is(err, store.ErrProcessed):
		return newProblem(http.StatusConflict, "the order is processed already")
	case errors.Is(err, lock.ErrNotAcquired):
		return newProblem(http.StatusConflict, "the order is being processed; look again")
	case errors.Is(err, lock.ErrLost):
		return newProblem(http.StatusServiceUnavailable, "the order's lock was lost on the way; look at the order and try again")
	}
	return err
}
