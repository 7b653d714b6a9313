// Package lockview describes what locks keep on the server, for package inspect.
//
// Package lock owns the formats and the scripts. It registers its functions here when it is
// initialized, so that its public API stays free of methods that only tools need. Only packages of
// this repository can import this package.
package lockview

import (
	"context"

	"github.com/redstart-go/redstart/internal/core"
)

// Kind is the kind of a lock.
type Kind string

// The kinds of locks. An election is a mutex.
const (
	Mutex     Kind = "mutex"
	Semaphore Kind = "semaphore"
	ReadWrite Kind = "read-write"
)

// ID identifies a lock. Its strings may hold any bytes.
type ID struct {
	Kind  Kind
	Name  string
	Group string // lock.Options.Group; "" for none
}

// State is a lock as the server knows it.
type State struct {
	LastToken     int64
	Held, Waiting int
	Holders       []Holder // Holders and Waiters list up to the limit of the read
	Waiters       []Waiter
}

// Holder is one hold.
type Holder struct {
	ID, Process string
	Token       int64
	Remaining   int64 // µs
	Permits     int
	Side        string // "reader" or "writer" of a read-write lock
}

// Waiter is one place in a queue.
type Waiter struct {
	ID, Process string
	Waited      int64 // µs
	Permits     int
	Side        string
	Several     bool // waits for several locks
}

// Result is the state of one lock, or its error.
type Result struct {
	State State
	Err   error
}

// Functions are what package lock registers.
type Functions struct {
	// Pattern is the glob of SCAN for the keys of all locks of a namespace.
	Pattern func(c *core.Core) (string, error)
	// Parse returns the lock whose state a key holds. It returns false for other keys.
	Parse func(c *core.Core, key string) (ID, bool)
	// Read reads locks: one round trip per kind of lock. It lists up to limit holders and waiters
	// of each. It writes nothing.
	Read func(ctx context.Context, c *core.Core, ids []ID, limit int) []Result
	// Break ends a hold, and reports whether it existed: one round trip.
	Break func(ctx context.Context, c *core.Core, id ID, h Holder) (bool, error)
}

var registered Functions

// Register sets the functions. Only package lock calls it, in a variable declaration, and the
// result is of no use.
func Register(f Functions) struct{} {
	if registered.Read != nil {
		panic("lockview: registered twice")
	}
	registered = f
	return struct{}{}
}

// Of returns the functions of package lock, which the caller's program must import.
func Of() Functions { return registered }
