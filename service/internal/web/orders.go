package web

import (
	"net/http"
	"strconv"
	"time"
)

func (s *server) createOrder(w http.ResponseWriter, r *http.Request) error {
	user, err := s.loggedIn(r)
	if err != nil {
		return err
	}
	var body struct {
		Item        string `json:"item"`
		AmountCents int64  `json:"amount_cents"`
	}
	if err := decode(w, r, &body); err != nil {
		return err
	}
	order, err := s.Shop.CreateOrder(r.Context(), user, body.Item, body.AmountCents)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/api/orders/"+strconv.FormatInt(order.ID, 10))
	return writeJSON(w, http.StatusCreated, order)
}

// once executes a request of a user once per Idempotency-Key. Visitors have no keys: the 401 of the
// handler is not stored.
func (s *server) once(next http.Handler) http.Handler {
	guarded := s.Shop.Requests.Middleware(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Shop.Sessions.FromContext(r.Context()).User() == "" {
			next.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

func (s *server) listOrders(w http.ResponseWriter, r *http.Request) error {
	user, err := s.loggedIn(r)
	if err != nil {
		return err
	}
	orders, err := s.Shop.Orders(r.Context(), user)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orders)
}

func (s *server) getOrder(w http.ResponseWriter, r *http.Request) error {
	user, id, err := s.ownOrder(r)
	if err != nil {
		return err
	}
	order, err := s.Shop.Order(r.Context(), user, id)
	if err != nil {
		return orderProblem(err)
	}
	return writeJSON(w, http.StatusOK, order)
}

func (s *server) processOrder(w http.ResponseWriter, r *http.Request) error {
	user, id, err := s.ownOrder(r)
	if err != nil {
		return err
	}
	order, err := s.Shop.Process(r.Context(), user, id)
	if err != nil {
		return orderProblem(err)
	}
	return writeJSON(w, http.StatusOK, order)
}

func (s *server) getStats(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	stats, source, err := s.Shop.Stats(r.Context())
	if err != nil {
		return err
	}
	setSource(w, source, time.Since(start))
	return writeJSON(w, http.StatusOK, stats)
}

// ownOrder returns the user of the request and the id of the order.
func (s *server) ownOrder(r *http.Request) (user, id int64, err error) {
	id, err = strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, 0, newProblem(http.StatusBadRequest, "an order id is a whole number from 1")
	}
	user, err = s.loggedIn(r)
	return user, id, err
}
