//go:build demo

package store

import "errors"

// The build of make run leaves out what the first page does not need, so that it compiles sooner.

func connectPostgres(string) (*Store, error) {
	return nil, errors.New("store: the build of make run has no PostgreSQL driver: start the shop with go run ./service --demo")
}

func redactedPostgres(string) string { return "a database" }
