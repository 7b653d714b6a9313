package cache_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) {
	registerRoles()
	rig.Main(m)
}

// user is the value of most tests.
type user struct {
	ID, Name string
	Version  int
}

var (
	dial     = rigclient.Open
	dialWith = rigclient.With
)

// open returns a cache of users on a new client. It stands for another process.
func open(t testing.TB, e rig.Engine, opts cache.Options) *cache.Cache[user] {
	t.Helper()
	return on(t, dial(t, e.URL, e.Namespace), opts)
}

func on(t testing.TB, client *redstart.Client, opts cache.Options) *cache.Cache[user] {
	t.Helper()
	c, err := cache.New[user](client, "users", opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// gate is a loader that signals its begin, and returns after a signal.
type gate struct {
	entered chan context.Context
	release chan answer
}

type answer struct {
	value user
	err   error
}

func newGate() *gate {
	return &gate{entered: make(chan context.Context, 100), release: make(chan answer)}
}

func (g *gate) load(ctx context.Context, key string) (user, error) {
	g.entered <- ctx
	select {
	case a := <-g.release:
		return a.value, a.err
	case <-ctx.Done():
		return user{}, context.Cause(ctx)
	}
}

// outcome is the result of a GetOrLoad on another goroutine.
type outcome struct {
	value user
	err   error
}

func begin(ctx context.Context, c *cache.Cache[user], key string, load cache.Loader[user],
	opts ...cache.CallOption) <-chan outcome {
	out := make(chan outcome, 1)
	go func() {
		v, err := c.GetOrLoad(ctx, key, load, opts...)
		out <- outcome{v, err}
	}()
	return out
}

// await receives a value that must come within 10 s.
func await[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("not within 10s: %s", what)
	}
	panic("unreachable")
}

// constant returns a loader of one value, which counts its calls.
func constant(v user, loads *int) cache.Loader[user] {
	return func(context.Context, string) (user, error) {
		*loads++
		return v, nil
	}
}

// forbidden returns a loader that must not run.
func forbidden(t testing.TB) cache.Loader[user] {
	return func(_ context.Context, key string) (user, error) {
		t.Errorf("the loader ran for %q", key)
		return user{}, nil
	}
}

// warm opens the connections to every node: the first ones of a cluster flush, and that detaches
// running loads.
func warm(t testing.TB, c *cache.Cache[user]) {
	t.Helper()
	keys := make([]string, 64)
	for i := range keys {
		keys[i] = fmt.Sprint("warm", i)
	}
	load := func(_ context.Context, keys []string) (map[string]user, error) {
		values := make(map[string]user)
		for _, key := range keys {
			values[key] = user{}
		}
		return values, nil
	}
	if _, err := c.GetOrLoadMany(t.Context(), keys, load); err != nil {
		t.Fatal(err)
	}
}
