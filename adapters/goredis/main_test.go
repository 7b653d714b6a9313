package redstartgoredis_test

import (
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

func TestMain(m *testing.M) { rig.Main(m) }

// works opens a client and takes a lock on the server.
func works(t *testing.T, cfg redstart.Config, err error) *redstart.Client {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Namespace, cfg.CommandTimeout = rig.Prefix(t), max(cfg.CommandTimeout, 5*time.Second)
	client, err := redstart.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	locker, err := lock.New(client, lock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	held, err := locker.Acquire(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client
}
