// Package sessionview describes what a session manager keeps on the server, for package inspect.
//
// Package session owns the format and the scripts. It registers a function here when it is
// initialized, so that its public API stays free of methods that only tools need. Only packages of
// this repository can import this package.
package sessionview

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// Keys are the secrets of a manager. See the fields of session.Options with the same meaning.
type Keys struct {
	Encryption [][]byte
	User       []byte
	Plaintext  bool
}

// Kind is the kind of a record.
type Kind string

// The kinds of records, and of keys that are not records.
const (
	Session   Kind = "session"
	Remember  Kind = "remember"
	Anonymous Kind = "anonymous"
	Unknown   Kind = "unknown" // of another release or of another program
)

// Record is a session or a remember-me token. Its strings may hold any bytes. It has no secret.
type Record struct {
	ID      string
	Kind    Kind
	Linked  string // id of the remember-me token of a session, and of the session of a token; "" for none
	Created time.Time

	// The fields that follow are from the stored record.

	LastSeen, Expires time.Time
	Moving            bool // a login is moving it to another user
	Encrypted         bool
	Bytes             int
	// Problem is the reason why the fields that follow are empty: the record is encrypted with a
	// key that is not in Keys, is of another release, or is malformed.
	Problem            string
	UserAgent, Address string
	Codec              byte
	Data               []byte // as the codec encoded it
}

// Page is a part of the records of a user, in the order in which they end.
type Page struct {
	Records []Record
	Next    int // offset of the next page; 0 after the last one
	Scanned int
}

// Counts are numbers of stored records. Stored has the sessions of a session.Store.
type Counts struct{ Users, Sessions, Remembered, Anonymous, Stored, Unknown int }

// Manager is the stored state of a session manager.
type Manager interface {
	// OfUser reads records of a user: two round trips per 100 records.
	OfUser(ctx context.Context, user string, offset, limit int) (Page, error)
	// Find reads one record of a user. Errors: ErrNotFound.
	Find(ctx context.Context, user, id string) (Record, error)
	// Revoke ends a session with its remember-me token. It reports whether there was one.
	Revoke(ctx context.Context, user, id string) (bool, error)
	// RevokeAll ends all records of a user and returns the number of sessions.
	RevokeAll(ctx context.Context, user string) (int, error)
	// Count counts the records among keys of this manager: one round trip. Keys of other spaces
	// count nothing.
	Count(ctx context.Context, keys []string) (Counts, error)
}

// ErrNotFound is returned by Find if the user has no such record.
var ErrNotFound = errors.New("the user has no such session")

// open is set once, by package session, before any client exists.
var open func(c *core.Core, name string, k Keys) (Manager, error)

// Register sets the function behind [Open]. Only package session calls it, in a variable
// declaration, and the result is of no use.
func Register(f func(c *core.Core, name string, k Keys) (Manager, error)) struct{} {
	if open != nil {
		panic("sessionview: registered twice")
	}
	open = f
	return struct{}{}
}

// Open returns the manager with a name. It sends no command. The program must import package
// session.
func Open(c *core.Core, name string, k Keys) (Manager, error) { return open(c, name, k) }
