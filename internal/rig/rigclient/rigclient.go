// Package rigclient opens the clients of tests. Package rig can't: the tests of packages below
// redstart use it.
package rigclient

import (
	"cmp"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
)

// patience is the command timeout of tests that are not about time: far above what a busy machine
// needs.
const patience = 10 * time.Second

// Open returns a client of a server, in a namespace that rig.Prefix or an engine gave. Its commands
// have 10 s, unless a change says otherwise. It is closed when the test ends, and an error of Close
// is the test's.
func Open(t testing.TB, url, namespace string, changes ...func(*redstart.Config)) *redstart.Client {
	t.Helper()
	cfg := redstart.Config{URL: url, Namespace: namespace}
	for _, change := range changes {
		change(&cfg)
	}
	return With(t, cfg)
}

// With is Open with a whole configuration. A CommandTimeout of 0 is 10 s.
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

// Within sets the command timeout: for tests in which answers don't come.
func Within(d time.Duration) func(*redstart.Config) {
	return func(cfg *redstart.Config) { cfg.CommandTimeout = d }
}
