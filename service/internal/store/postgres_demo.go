//go:build demo

package store

import "errors"

// The build of make run omits the PostgreSQL driver, so that it compiles faster.

func connectPostgres(string) (*Store, error) {
	return nil, errors.New("store: the build of make run has no PostgreSQL driver; use go run ./service --demo")
}

func redactedPostgres(string) string { return "a database" }
