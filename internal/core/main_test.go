package core_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// open returns a Core on a server. It is closed with the test.
func open(t testing.TB, url string, edit ...func(*core.Options)) *core.Core {
	t.Helper()
	c, err := openErr(t, url, edit...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the tests of Close check its error
	return c
}

// openErr returns the result of core.Open.
func openErr(t testing.TB, url string, edit ...func(*core.Options)) (*core.Core, error) {
	t.Helper()
	e, err := endpoint.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	opt := core.Options{
		Endpoint: e, Namespace: rig.Prefix(t), PoolSize: 10, ClientName: "redstart",
		CommandTimeout: 2 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	for _, f := range edit {
		f(&opt)
	}
	return core.Open(t.Context(), opt)
}

func timeout(d time.Duration) func(*core.Options) {
	return func(o *core.Options) { o.CommandTimeout = d }
}

func get(ctx context.Context, c *core.Core, key string) error {
	_, err := c.Do(ctx, core.Read("GET", key))
	return err
}
