// Package rigclient opens the clients of tests. Package rig can't import package redstart, because
// the tests of packages below redstart use it.
package rigclient

import (
	"cmp"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart"
)

// patience is the command timeout of tests that do not measure time. It is far above the time that
// a busy machine needs.
const patience = 10 * time.Second

// Open returns a client of a server, in a namespace of rig.Prefix or of an engine. Its command
// timeout is 10 s, unless a change sets another one. The client is closed at the end of the test,
// and an error of Close fails the test.
func Open(t testing.TB, url, namespace string, changes ...func(*redstart.Config)) *redstart.Client {
	t.Helper()
	cfg := redstart.Config{URL: url, Namespace: namespace}
	for _, change := range changes {
		change(&cfg)
	}
	return With(t, cfg)
}

// With returns a client with the given configuration, like [Open]. A CommandTimeout of 0 is 10 s.
func With(t testing.TB, cfg redstart.Config) *redstart.Client {
	t.Helper()
	cfg.CommandTimeout = cmp.Or(cfg.CommandTimeout, patience)
	client, err := redstart.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// Redis returns the client library's client of c.
func Redis(t testing.TB, c *redstart.Client) rueidis.Client {
	t.Helper()
	client, err := c.Redis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Within sets the command timeout, for tests in which replies are missing.
func Within(d time.Duration) func(*redstart.Config) {
	return func(cfg *redstart.Config) { cfg.CommandTimeout = d }
}
