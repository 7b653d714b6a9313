// Package pgtest creates databases for tests, on one PostgreSQL per test process. The server ends
// with the process.
package pgtest

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/postgres"
)

var (
	server = sync.OnceValues(postgres.Start)
	number atomic.Int64
)

// Postgres returns the URL of an empty database. Tests that need it belong to rig.TierAll.
func Postgres(t testing.TB) string {
	t.Helper()
	rig.Need(t, rig.TierAll)
	running, err := server()
	if err != nil {
		t.Fatal(err)
	}
	url, err := running.Create(t.Context(), fmt.Sprint("test", number.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// SQLite returns the URL of a database that does not exist yet.
func SQLite(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "a name with ?, # and %.db")
}

// Databases runs a test on every kind of database: SQLite, and PostgreSQL in rig.TierAll. newURL
// creates a database.
func Databases(t *testing.T, test func(t *testing.T, newURL func(testing.TB) string)) {
	for name, newURL := range map[string]func(testing.TB) string{"sqlite": SQLite, "postgres": Postgres} {
		if name == "postgres" && !rig.Includes(rig.TierAll) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newURL)
		})
	}
}
