package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/shop"
)

// run makes an instance publish and notify until the test ends.
func (in *instance) run() {
	ctx, cancel := context.WithCancel(in.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.shop.Run(ctx) }()
	in.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			in.t.Error(err)
		}
	})
}

func (in *instance) order(item string) (id int64, path string) {
	in.t.Helper()
	answer := in.post("/api/orders", fmt.Sprintf(`{"item":%q,"amount_cents":1250}`, item))
	wantStatus(in.t, answer, http.StatusCreated)
	var o shop.Order
	if err := json.Unmarshal([]byte(answer.body), &o); err != nil {
		in.t.Fatal(err)
	}
	if o.Status != "new" || o.AmountCents != 1250 || o.Item != item {
		in.t.Errorf("the order is answered as %s", answer.body)
	}
	return o.ID, answer.header.Get("Location")
}

// A second instance gets the request to process an order while the first instance processes it.
func TestAnOrderIsProcessedOnceByTwoInstances(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		began, goOn := make(chan struct{}, 2), make(chan struct{})
		pack := func(ctx context.Context, _ shop.Order) error {
			began <- struct{}{}
			select {
			case <-goOn:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		a := startWith(t, redis, database, shop.Options{Instance: "a", Pack: pack})
		b := startWith(t, redis, database, shop.Options{Instance: "b", Pack: pack})
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		b.cookie = a.cookie
		_, path := a.order("Cards")

		var answers [2]answer
		var wg sync.WaitGroup
		for i, in := range []*instance{a, b} {
			wg.Go(func() { answers[i] = in.post(path+"/process", "") })
		}
		<-began
		close(goOn)
		wg.Wait()
		first, second := answers[0], answers[1]
		by := "a"
		if first.status != http.StatusOK {
			first, second, by = second, first, "b"
		}
		wantStatus(t, first, http.StatusOK)
		wantProblem(t, second, http.StatusConflict, "already processed")
		if first.field(t, "processed_by") != by || first.field(t, "status") != "processed" ||
			!strings.Contains(first.body, `"fence":`) {
			t.Errorf("processed by %s: %s", by, first.body)
		}
		if len(began) > 0 {
			t.Error("both did the work")
		}
		wantProblem(t, a.post(path+"/process", ""), http.StatusConflict, "already processed")
		if got := b.get(path); got.body != first.body {
			t.Errorf("read again it is %s, was %s", got.body, first.body)
		}
	})
}

// Two instances get an order again with the same Idempotency-Key. It is stored once, and its answer
// is the same. The order of another user with this key is another order. Without a key, each
// request is an order.
func TestAnOrderIsStoredOncePerIdempotencyKey(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		a, b := start(t, redis, database), start(t, redis, database)
		ada, eve := a.addUser("ada@example.com", "Ada"), a.addUser("eve@example.com", "Eve")
		const body, key = `{"item":"Cards","amount_cents":1250}`, `"8e03978e-40d5-43e8-bc93-6894a57f9324"`
		send := func(in *instance, body string) answer {
			return in.do("POST", "/api/orders", body, "Content-Type", "application/json", "Idempotency-Key", key)
		}
		a.become(ada)
		b.cookie = a.cookie
		first := send(a, body)
		wantStatus(t, first, http.StatusCreated)
		for _, in := range []*instance{a, b} {
			again := send(in, body)
			if again.status != first.status || again.body != first.body ||
				again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("the first answer: %d %s %s, again: %d %s %v", first.status, first.body,
					first.header.Get("Location"), again.status, again.body, again.header)
			}
		}
		if other := send(b, `{"item":"Cards","amount_cents":1}`); other.status != http.StatusUnprocessableEntity ||
			other.field(t, "code") != "key-reused" {
			t.Errorf("another order with the key: %d %s", other.status, other.body)
		}
		count := func(in *instance) int { return strings.Count(in.get("/api/orders").body, `"item"`) }
		if n := count(b); n != 1 {
			t.Errorf("%d orders with one key", n)
		}
		a.order("Cards")
		a.order("Cards")
		if n := count(b); n != 3 {
			t.Errorf("%d orders, two of them without a key", n)
		}

		a.become(eve)
		if other := send(a, body); other.status != http.StatusCreated || other.header.Get("Idempotent-Replayed") != "" ||
			other.body == first.body {
			t.Errorf("another user gets %d %s", other.status, other.body)
		}
		a.cookie = ""
		wantProblem(t, send(a, body), http.StatusUnauthorized, "log in")
	})
}

func TestOrdersOfOthersAreNotThere(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada, eve := in.addUser("ada@example.com", "Ada"), in.addUser("eve@example.com", "Eve")
		in.become(ada)
		_, path := in.order("Cards")
		in.become(eve)
		wantProblem(t, in.get(path), http.StatusNotFound, "no order with this id")
		wantProblem(t, in.post(path+"/process", ""), http.StatusNotFound, "no order with this id")
		if list := in.get("/api/orders"); list.body != "[]\n" {
			t.Errorf("Eve's orders: %s", list.body)
		}
		in.cookie = ""
		for _, c := range [][2]string{{"GET", path}, {"POST", path + "/process"}, {"GET", "/api/orders"},
			{"GET", "/api/notifications"}, {"GET", "/api/notifications/stream"}, {"GET", "/api/devices"},
			{"DELETE", "/api/devices"}, {"DELETE", "/api/devices/x"}} {
			wantProblem(t, in.do(c[0], c[1], ""), http.StatusUnauthorized, "log in")
		}
		in.become(ada)
		if got := in.get(path).field(t, "status"); got != "new" {
			t.Errorf("the order is %q now", got)
		}
	})
}

func TestBadOrdersAreRefused(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		in.become(in.addUser("ada@example.com", "Ada"))
		for name, c := range map[string]struct {
			body   string
			status int
			about  string
		}{
			"no item":          {`{"amount_cents":1}`, 422, "item"},
			"nothing to pay":   {`{"item":"x","amount_cents":0}`, 422, "amount_cents"},
			"a negative price": {`{"item":"x","amount_cents":-5}`, 422, "amount_cents"},
			"a fraction":       {`{"item":"x","amount_cents":1.5}`, 400, "amount_cents"},
			"a text as price":  {`{"item":"x","amount_cents":"1"}`, 400, "amount_cents"},
			"too much":         {`{"item":"x","amount_cents":100000001}`, 422, "amount_cents"},
			"beyond 64 bits":   {`{"item":"x","amount_cents":9223372036854775808}`, 400, "amount_cents"},
			"another's":        {`{"item":"x","amount_cents":1,"user_id":2}`, 400, `"user_id"`},
			"processed":        {`{"item":"x","amount_cents":1,"status":"processed"}`, 400, `"status"`},
			"control":          {`{"item":"a\nb","amount_cents":1}`, 422, "control"},
			"overlong":         {`{"item":"` + strings.Repeat("x", 201) + `","amount_cents":1}`, 422, "200"},
		} {
			t.Run(name, func(t *testing.T) { wantProblem(t, in.post("/api/orders", c.body), c.status, c.about) })
		}
		if list := in.get("/api/orders"); list.body != "[]\n" {
			t.Errorf("after all of that there are orders: %s", list.body)
		}
		wantProblem(t, in.do("POST", "/api/orders", `{"item":"x","amount_cents":1}`, "Content-Type",
			"application/json", "Sec-Fetch-Site", "cross-site"), http.StatusForbidden, "another site")
		wantProblem(t, in.get("/api/orders/1'"), http.StatusBadRequest, "whole number")
	})
}

func TestAnOrderInvalidatesTheSpending(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		wantSource(t, b.get(spendingPath(ada.ID)), shop.FromDatabase)
		a.order("Cards")
		if got := b.get(spendingPath(ada.ID)); !strings.Contains(got.body, `"total_cents":1250`) {
			t.Errorf("after an order: %s", got.body)
		}
	})
}

func TestStatsAreComputedOnceForAllInstances(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		a.become(a.addUser("ada@example.com", "Ada"))
		a.order("Cards")
		first := a.get("/api/stats")
		wantSource(t, first, shop.FromDatabase)
		if !strings.Contains(first.body, `"users":1,"orders":1,"processed":0,"revenue_cents":0,`) {
			t.Errorf("stats: %s", first.body)
		}
		a.order("Tape")
		second := b.get("/api/stats")
		wantSource(t, second, shop.FromCache)
		if second.body != first.body {
			t.Errorf("computed again: %s, then %s", first.body, second.body)
		}
	})
}

// stream is an open stream of notifications.
type stream struct {
	t     *testing.T
	lines chan string // closed when the stream ends
}

type sent struct{ event, id, data string }

func (in *instance) stream(last string) *stream {
	in.t.Helper()
	req, err := http.NewRequestWithContext(in.t.Context(), "GET", in.url+"/api/notifications/stream", nil)
	if err != nil {
		in.t.Fatal(err)
	}
	req.Header.Set("Cookie", in.cookie)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
		in.t.Fatalf("the stream answers %s, %s", res.Status, res.Header.Get("Content-Type"))
	}
	s := &stream{in.t, make(chan string, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.lines)
		for scanner := bufio.NewScanner(res.Body); scanner.Scan(); {
			s.lines <- scanner.Text()
		}
	}()
	in.t.Cleanup(func() {
		res.Body.Close()
		<-ended
	})
	if last == "" {
		s.line(":") // the stream is open: later events are sent
	}
	return s
}

// line returns the rest of the next line with this prefix. ok is false if the stream has ended.
func (s *stream) line(prefix string) (string, bool) {
	s.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, open := <-s.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok || !open {
				return strings.TrimSpace(rest), open
			}
		case <-deadline:
			s.t.Fatalf("no line %q on the stream", prefix)
		}
	}
}

func (s *stream) next() (e sent) {
	s.t.Helper()
	for e.event == "" || e.id == "" || e.data == "" {
		line, open := s.line("")
		if !open {
			s.t.Fatal("the stream has ended")
		}
		field, value, _ := strings.Cut(line, ": ")
		switch field {
		case "event":
			e.event = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		}
	}
	return e
}

func TestNotificationsCrossOver(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		a.run()
		b.run()
		ada, eve := a.addUser("ada@example.com", "Ada"), a.addUser("eve@example.com", "Eve")
		hers := *b
		hers.become(eve)
		eves := hers.stream("")
		a.become(ada)
		b.cookie = a.cookie
		live := b.stream("") // at the other instance

		_, path := a.order("Cards")
		created := live.next()
		wantStatus(t, a.post(path+"/process", ""), http.StatusOK)
		done := live.next()
		if created.event != shop.OrderCreated || done.event != shop.OrderProcessed ||
			!strings.Contains(done.data, `"status":"processed"`) || !strings.Contains(created.data, `"Cards"`) {
			t.Errorf("the stream says %+v and %+v", created, done)
		}
		// After a disconnection, the stream sends exactly the missed events.
		if missed := a.stream(created.id).next(); missed != done {
			t.Errorf("after %s comes %+v, want %+v", created.id, missed, done)
		}
		if stale := a.stream("no such place").next(); stale.event != "stale" {
			t.Errorf("from nowhere comes %+v, want stale", stale)
		}

		// Each event is stored once, although two instances run the relay and the subscriber.
		rig.Eventually(t, 20*time.Second, "both are stored",
			func() bool { return strings.Count(b.get("/api/notifications").body, `"id"`) >= 2*2 })
		var list []shop.Notification
		if err := json.Unmarshal([]byte(a.get("/api/notifications").body), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].Type != shop.OrderProcessed || list[1].Type != shop.OrderCreated {
			t.Errorf("notifications: %+v", list)
		}

		// Eve receives no event of Ada: the first event of the stream is the order of Eve.
		hers.order("Tape")
		if first := eves.next(); !strings.Contains(first.data, `"Tape"`) {
			t.Errorf("Eve received %+v", first)
		}
	})
}

func TestARevokedDeviceLosesItsStream(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.become(ada)
		phone := b.stream("")
		a.become(ada)
		mine := a.stream("")
		for _, d := range a.deviceList() {
			if !d.Current {
				wantStatus(t, a.do("DELETE", "/api/devices/"+d.ID, ""), http.StatusNoContent)
			}
		}
		if line, open := phone.line("nothing that comes"); open {
			t.Errorf("the stream goes on with %q", line)
		}
		a.run()
		a.order("Cards")
		if got := mine.next(); got.event != shop.OrderCreated {
			t.Errorf("the other device's stream says %+v", got)
		}
	})
}
