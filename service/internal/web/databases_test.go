package web_test

import (
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/redstarttest"
	"github.com/redstart-go/redstart/service/internal/pgtest"
)

// everywhere runs a test on every engine with SQLite, and on one engine with PostgreSQL.
func everywhere(t *testing.T, test func(t *testing.T, redis redstart.Config, database string)) {
	t.Helper()
	rig.Engines(t, func(t *testing.T, e rig.Engine) { test(t, on(e.URL, e.Namespace), newDatabase(t)) })
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, on(rig.Shared(t).URL(), rig.Prefix(t)), pgtest.Postgres(t))
	})
}

// onDatabases runs a test of one instance on every kind of database.
func onDatabases(t *testing.T, test func(t *testing.T, in *instance)) {
	t.Parallel()
	pgtest.Databases(t, func(t *testing.T, newURL func(testing.TB) string) {
		test(t, start(t, redstarttest.Start(t).Config(), newURL(t)))
	})
}
