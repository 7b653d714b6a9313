package callers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
)

// created is a handler that answers 201 with a body of 100 bytes.
var created = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(orderBody) // the recorder has no errors
})

var orderBody = []byte(`{"order":42,"note":"` + strings.Repeat("x", 78) + `"}`)

// post sends an order with a key to a handler.
func post(b *testing.B, h http.Handler, key string) error {
	r := httptest.NewRequest(http.MethodPost, "/orders", strings.NewReader(`{"item":"engine"}`)).WithContext(b.Context())
	r.Header.Set("Idempotency-Key", `"`+key+`"`)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		return fmt.Errorf("status %d: %s", w.Code, w.Body)
	}
	return nil
}

func execute(b *testing.B, p place, _ callers.Case) operation {
	executor, err := idempotency.New(p.client(b), "orders", idempotency.Options{Scope: idempotency.OneScope})
	if err != nil {
		b.Fatal(err)
	}
	handler := executor.Middleware(created)
	var next atomic.Int64
	return func(int, int64, func() bool) error { return post(b, handler, strconv.FormatInt(next.Add(1), 10)) }
}

// rivalExecute is what services write by hand: SET NX takes the key, SET stores the body. It does
// not renew the key, does not compare requests, and stores no status and no header.
func rivalExecute(b *testing.B, p place, _ callers.Case) operation {
	client, prefix := p.goredis(b), rig.Prefix(b)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := prefix + r.Header.Get("Idempotency-Key")
		taken, err := client.SetNX(r.Context(), key, "running", 15*time.Second).Result()
		if err != nil || !taken {
			http.Error(w, fmt.Sprint("taken: ", err), http.StatusConflict)
			return
		}
		answer := httptest.NewRecorder()
		created(answer, r)
		if err := client.Set(r.Context(), key, answer.Body.Bytes(), 24*time.Hour).Err(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
	var next atomic.Int64
	return func(int, int64, func() bool) error { return post(b, handler, strconv.FormatInt(next.Add(1), 10)) }
}
