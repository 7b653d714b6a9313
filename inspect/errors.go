package inspect

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/redstart-go/redstart/internal/fault"
)

// Errors of the server or the connection have the classes of package redstart. After
// redstart.ErrDenied, the message names the missing ACL rule if the server reports it.
var (
	// ErrReadOnly reports a repair by an Inspector with [Options.ReadOnly]. Nothing was sent.
	ErrReadOnly = errors.New("inspect: read-only: open an Inspector without Options.ReadOnly to repair")

	// ErrNotFound reports that the server does not have the object.
	ErrNotFound = errors.New("inspect: not found")

	// ErrRunning reports a repair of a request that is being executed. Nothing was changed.
	ErrRunning = errors.New("inspect: the execution holds its lease: wait for its end, or for the end of the lease")

	// ErrBadCursor reports a [Page] whose Cursor is not the Next of a list of this kind.
	ErrBadCursor = errors.New("inspect: the cursor is not from this list: begin with an empty cursor")
)

// failure adds the operation and its object to an error:
//
//	inspect: explain "users", key "42": …
func failure(operation, object string, err error) error {
	if errors.Is(err, fault.ErrDenied) {
		err = fmt.Errorf("%w; the users in deploy/acl/redstart-inspect.acl (read) and "+
			"deploy/acl/redstart-operate.acl (repair) have the rules", err)
	}
	if object == "" {
		return fmt.Errorf("inspect: %s: %w", operation, err)
	}
	return fmt.Errorf("inspect: %s %s: %w", operation, object, err)
}

// quoted returns a name for a message: quoted, and at most 64 characters of it.
func quoted(name string) string {
	if utf8.RuneCountInString(name) > 64 {
		return fmt.Sprintf("%.64q…", name)
	}
	return fmt.Sprintf("%q", name)
}

// errUnreadable is the error of a value that is not an entry of this release.
var errUnreadable = fault.New(fault.ErrCorrupt, errors.New("the stored value is not an entry of this release"),
	"look for another program or release that writes this key")
