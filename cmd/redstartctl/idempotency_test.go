package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestTranscriptIdempotency(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	executor, err := idempotency.New(open(t, s.URL(), namespace), "orders", idempotency.Options{
		Scope: func(*http.Request) (string, error) { return "7", nil },
	})
	must(t, err)
	began, end, done := make(chan bool), make(chan bool), make(chan bool)
	orders := executor.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		began <- true
		<-end
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "/orders/1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"order": 1}`)
	}))
	transcript(t, "idempotency.txt", serverEnv(s.URL(), namespace), map[string]func(){
		"user 7 creates an order, and the handler runs": func() {
			go func() {
				defer close(done)
				r := httptest.NewRequest(http.MethodPost, "/orders", nil)
				r.Header.Set("Idempotency-Key", `"order-1"`)
				orders.ServeHTTP(httptest.NewRecorder(), r)
			}()
			<-began
		},
		"the order is created":                                func() { close(end); <-done },
		"an operator has removed the order from the database": func() {},
	})
}
