package idempotency_test

import (
	"testing"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/idempotencyview"
)

// A view reads the response of a record only within the budget of its caller.
func TestViewReadsAResponseWithinItsBudget(t *testing.T) {
	t.Parallel()
	client := shared(t)
	h := newExecutor(t, client, idempotency.Options{}).Middleware(&orders{})
	request{key: "k", body: "an order"}.to(h)
	id := idempotencyview.ID{Executor: t.Name(), Key: "k"}
	read := func(most int) (idempotencyview.Record, idempotencyview.Result) {
		r, result, found, err := idempotencyview.Of().Read(t.Context(), clientcore.Of(client), id, most)
		if err != nil || !found || r.State != idempotencyview.Finished || r.BodyBytes != int64(len("#an order")) {
			t.Fatalf("%+v, found %v, %v", r, found, err)
		}
		return r, result
	}
	r, _ := read(0)
	size := int(r.HeaderBytes + r.BodyBytes)
	for most, want := range map[int]string{0: "", size - 1: "", size: "#an order", 1 << 20: "#an order"} {
		if _, result := read(most); result.Body != want || (result.Header != "") != (want != "") {
			t.Errorf("with a budget of %d bytes, a response of %d bytes is %+v", most, size, result)
		}
	}
}
