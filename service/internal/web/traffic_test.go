package web_test

import (
	"net/http"
	"testing"

	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/store"
)

// The virtual users order for themselves: the lists of the visitor who starts them stay empty.
func TestTrafficLeavesTheVisitorAlone(t *testing.T) {
	t.Parallel()
	in, _ := startDemo(t)
	in.become(in.addUser("ada@example.com", "Ada"))
	samples := in.live()
	wantStatus(t, in.post("/demo/traffic", `{"users": 20, "seconds": 100}`), http.StatusOK)
	sampled(t, samples, "processed orders", func(s demo.Sample) bool { return s.LockAcquired > 0 })
	wantStatus(t, in.post("/demo/traffic", `{"users": 0, "seconds": 0}`), http.StatusOK)

	totals, err := in.store.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if totals.Orders == 0 {
		t.Error("the virtual users have no orders")
	}
	for _, list := range []string{"/api/orders", "/api/notifications"} {
		if got := in.get(list); got.status != http.StatusOK || got.body != "[]\n" {
			t.Errorf("%s of the visitor has status %d and the body %s", list, got.status, got.body)
		}
	}
}

// With the limits of the shop, the default of 20 virtual users exceeds the limit of the free plan.
// The user of the plan "pro" is served at the same time, and so is the visitor.
func TestDefaultTrafficIsRefused(t *testing.T) {
	t.Parallel()
	in, _ := startDemoOn(t, newDatabase(t), nil)
	if err := in.store.Seed(t.Context()); err != nil {
		t.Fatal(err)
	}
	ada, err := in.store.UserByEmail(t.Context(), store.SampleEmail)
	if err != nil {
		t.Fatal(err)
	}
	in.become(ada)
	samples := in.live()
	wantStatus(t, in.post("/demo/traffic", `{"users": 20, "seconds": 100}`), http.StatusOK)
	sampled(t, samples, "requests refused from memory, and served requests", func(s demo.Sample) bool {
		return s.LimitLocally > 0 && s.LimitRefused >= s.LimitLocally && s.LimitAllowed > 0
	})
	wantStatus(t, in.get("/api/users/1"), http.StatusOK)
}
