package redstartgoredis

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9/auth"

	"github.com/redstart-go/redstart"
)

// streamingEvery is how often the credentials of a streaming provider are read for a connection. A
// provider renews a token minutes before its end.
const streamingEvery = 5 * time.Second

// credentials returns the callback for the provider that go-redis would use: the streaming one
// first, then the one with a context, then the one without. It is nil without a provider.
func (s shared) credentials() func(ctx context.Context) (redstart.Credentials, error) {
	switch {
	case s.streaming != nil:
		return func(ctx context.Context) (redstart.Credentials, error) {
			got, err := within(ctx, func() (redstart.Credentials, error) { return current(s.streaming) })
			got.RefreshAfter = time.Now().Add(streamingEvery)
			return got, err
		}
	case s.contextual != nil:
		return func(ctx context.Context) (redstart.Credentials, error) {
			user, password, err := s.contextual(ctx)
			return redstart.Credentials{Username: user, Password: password}, err
		}
	case s.provider != nil:
		return func(ctx context.Context) (redstart.Credentials, error) {
			return within(ctx, func() (redstart.Credentials, error) {
				user, password := s.provider()
				return redstart.Credentials{Username: user, Password: password}, nil
			})
		}
	}
	return nil
}

// current subscribes to a streaming provider, and unsubscribes with its current credentials. So no
// subscription outlives the client.
func current(provider auth.StreamingCredentialsProvider) (redstart.Credentials, error) {
	got, unsubscribe, err := provider.Subscribe(new(listener))
	if err != nil {
		return redstart.Credentials{}, err
	}
	user, password := got.BasicAuth()
	if unsubscribe != nil {
		err = unsubscribe()
	}
	return redstart.Credentials{Username: user, Password: password}, err
}

// listener ignores news, because the next question reads them. It has a field, so that two
// listeners have two addresses.
type listener struct{ _ byte }

func (*listener) OnNext(auth.Credentials) {}
func (*listener) OnError(error)           {}

// within calls a function that has no context, and returns when ctx ends. A panic of the function
// is passed to the caller, which contains it.
func within(ctx context.Context, fn func() (redstart.Credentials, error)) (redstart.Credentials, error) {
	type answer struct {
		got      redstart.Credentials
		err      error
		panicked any
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			a.panicked = recover()
			answers <- a
		}()
		a.got, a.err = fn()
	}()
	select {
	case a := <-answers:
		if a.panicked != nil {
			panic(a.panicked)
		}
		return a.got, a.err
	case <-ctx.Done():
		return redstart.Credentials{}, ctx.Err()
	}
}
