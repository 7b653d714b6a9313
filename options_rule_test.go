package redstart_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/lock"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// A number below -1 is refused in each field of each options struct, and the error names the field:
// -1 is the value of the constants that switch something off (docs/conventions.md). The control is
// the same struct without the number, which is accepted.
func TestOptionsRefuseNegativeNumbersByField(t *testing.T) {
	t.Parallel()
	client := rigclient.Open(t, rig.Embedded(t).URL(), "app")
	live := must(events.NewLive(client, events.LiveOptions{}))
	durable := must(events.NewDurable(client, "orders", events.DurableOptions{}))
	limiter := must(ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(1)}}))
	channel := func(*http.Request) (string, error) { return "c", nil }
	fields := 0
	for _, c := range []struct {
		options any // with the required fields
		build   func(options any) error
	}{
		{redstart.Config{Lazy: true}, func(o any) error {
			c, err := redstart.Open(t.Context(), o.(redstart.Config))
			if err == nil {
				err = c.Close()
			}
			return err
		}},
		{embedded.Options{InMemory: true}, func(o any) error {
			s, err := embedded.Start(t.Context(), o.(embedded.Options))
			if err == nil {
				err = s.Close()
			}
			return err
		}},
		{cache.Options{Near: cache.NearOptions{MaxEntries: 1}}, func(o any) error {
			_, err := cache.New[int](client, "x", o.(cache.Options))
			return err
		}},
		{lock.Options{}, func(o any) error { _, err := lock.New(client, o.(lock.Options)); return err }},
		{events.LiveOptions{}, func(o any) error { _, err := events.NewLive(client, o.(events.LiveOptions)); return err }},
		{events.DurableOptions{}, func(o any) error {
			_, err := events.NewDurable(client, "x", o.(events.DurableOptions))
			return err
		}},
		{events.SubscriberOptions{}, func(o any) error {
			_, err := durable.Subscriber("g", o.(events.SubscriberOptions))
			return err
		}},
		{events.SubscriberOptions{}, func(o any) error {
			_, err := live.Subscriber("g", o.(events.SubscriberOptions))
			return err
		}},
		{events.SSEOptions{}, func(o any) error { _, err := durable.SSE(channel, o.(events.SSEOptions)); return err }},
		{session.Options{}, func(o any) error { _, err := session.New[int](client, "x", o.(session.Options)); return err }},
		{session.StoreOptions{}, func(o any) error {
			_, err := session.NewStore(client, "x", o.(session.StoreOptions))
			return err
		}},
		{ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(10)}}, func(o any) error {
			_, err := ratelimit.New(client, "x", o.(ratelimit.Options))
			return err
		}},
		{ratelimit.ConcurrencyOptions{Limit: 1}, func(o any) error {
			_, err := ratelimit.NewConcurrency(client, "x", o.(ratelimit.ConcurrencyOptions))
			return err
		}},
		{idempotency.Options{Scope: idempotency.OneScope}, func(o any) error {
			_, err := idempotency.New(client, "x", o.(idempotency.Options))
			return err
		}},
		{ratelimit.PlansOptions{}, func(o any) error { _, err := ratelimit.NewPlans(limiter, o.(ratelimit.PlansOptions)); return err }},
	} {
		name := reflect.TypeOf(c.options).String()
		if err := c.build(c.options); err != nil {
			t.Errorf("%s without a negative number: %v", name, err)
		}
		for _, path := range numbersOf(reflect.TypeOf(c.options), nil) {
			fields++
			changed := reflect.New(reflect.TypeOf(c.options)).Elem()
			changed.Set(reflect.ValueOf(c.options))
			field := changed.FieldByIndex(path.index)
			if field.CanInt() {
				field.SetInt(-2)
			} else {
				field.SetFloat(-2)
			}
			if err := c.build(changed.Interface()); err == nil || !strings.Contains(err.Error(), path.name) {
				t.Errorf("%s with %s -2: got %v, want an error that names the field", name, path.name, err)
			}
		}
	}
	if fields < 40 {
		t.Errorf("found %d numbers in all options: the search is broken", fields)
	}
}

// number is a field with a signed number.
type number struct {
	name  string
	index []int
}

// numbersOf returns the fields with signed numbers of a struct and of the structs inside it.
func numbersOf(options reflect.Type, at []int) []number {
	var found []number
	for i := range options.NumField() {
		field := options.Field(i)
		index := append(at[:len(at):len(at)], i)
		switch kind := field.Type.Kind(); {
		case !field.IsExported():
		case kind == reflect.Struct:
			found = append(found, numbersOf(field.Type, index)...)
		case kind >= reflect.Int && kind <= reflect.Int64, kind == reflect.Float32, kind == reflect.Float64:
			found = append(found, number{field.Name, index})
		}
	}
	return found
}
