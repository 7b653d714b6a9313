// Package idempotencyview describes what an executor keeps on the server, for package inspect.
//
// Package idempotency owns the format and the scripts. It registers its functions here when it is
// initialized, so that its public API stays free of methods that only tools need. Only packages of
// this repository can import this package.
package idempotencyview

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// ID identifies a record. Its strings may hold any bytes.
type ID struct{ Executor, Scope, Key string }

// State is the state of a record.
type State string

// The states.
const (
	Running       State = "running"        // an execution holds the lease
	Finished      State = "finished"       // a result is stored
	NotRepeatable State = "not repeatable" // executed, without a stored result
)

// Record is a stored record. Its strings may hold any bytes.
type Record struct {
	State                  State
	TTL                    time.Duration // rest of the lease or of the retention; 0: the key has none
	Status                 int
	HeaderBytes, BodyBytes int64
	Problem                string // the stored value is not of this release
}

// Result is the stored response of a record.
type Result struct{ Header, Body string }

// Functions are what package idempotency registers.
type Functions struct {
	// Read reads a record: one round trip. found is false if there is none. With most above 0, it
	// returns the response too, unless the response has more bytes. It writes nothing.
	Read func(ctx context.Context, c *core.Core, id ID, most int) (r Record, result Result, found bool, err error)
	// Forget deletes a record that is not running: one round trip. It returns the state that it
	// found; "" for none.
	Forget func(ctx context.Context, c *core.Core, id ID) (State, error)
}

var registered Functions

// Register sets the functions. Only package idempotency calls it, in a variable declaration, and
// the result is of no use.
func Register(f Functions) struct{} {
	if registered.Read != nil {
		panic("idempotencyview: registered twice")
	}
	registered = f
	return struct{}{}
}

// Of returns the functions of package idempotency, which the caller's program must import.
func Of() Functions { return registered }
