package console

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"strings"

	"github.com/redstart-go/redstart/inspect"
)

// Role says what the sender of a request may do. [Options.Authorize] returns it.
type Role uint8

const (
	// NoRole may do nothing. Each request is refused with status 403.
	NoRole Role = iota
	// Viewer may read all pages.
	Viewer
	// Operator may read all pages and repair.
	Operator
)

// String returns "none", "viewer" or "operator".
func (r Role) String() string {
	switch r {
	case NoRole:
		return "none"
	case Viewer:
		return "viewer"
	case Operator:
		return "operator"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// Mask says which stored values the pages may show.
type Mask uint8

const (
	// MaskValues hides the values of caches, the data of sessions and the data of events. It is the
	// default.
	MaskValues Mask = iota
	// MaskNone lets an [Operator] show a value on request. A [Viewer] never sees one.
	MaskNone
)

// Options configure a [Console]. Only Authorize is required.
type Options struct {
	// Authorize returns the role of a request. It is called for each page, each stream and each
	// repair, also before a static file is served. An error or a panic refuses the request with
	// status 403 and is logged; the response does not show it. Required: without it, [New] returns
	// an error, because every visitor could repair.
	//
	// To send visitors to a login page, wrap the Console with a handler that redirects them.
	Authorize func(r *http.Request) (Role, error)
	// Actor names the person behind a request, for the log line of each repair and for the budget
	// of live pages: 16 for each person. Default: the remote address of the request. Behind a
	// proxy, set it: otherwise all people have the address of the proxy, and share one budget.
	Actor func(r *http.Request) string

	// SessionKeys are the secrets of session managers by name, for the page Sessions. Without the
	// keys of a manager that encrypts, the page shows the times of its sessions and no device.
	SessionKeys map[string]inspect.SessionKeys

	// Prefix is the path at which the Console is mounted, such as "/console", without a slash at
	// its end. Default "": the root.
	Prefix string
	// ReadOnly refuses each repair, also of an [Operator], with status 403.
	ReadOnly bool
	// Mask hides stored values. Default [MaskValues].
	Mask Mask

	// Logger receives refused requests and panics. Nil logs nothing. Repairs are logged by the
	// client's logger (redstart.Config.Logger) or, if it is not nil, by this one.
	Logger *slog.Logger
}

// withDefaults validates the options and fills the defaults.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Authorize == nil:
		return o, errors.New("console: new: Options.Authorize is nil: pass a function that returns the role of a request")
	case o.Prefix != "" && (!strings.HasPrefix(o.Prefix, "/") || strings.HasSuffix(o.Prefix, "/")):
		return o, fmt.Errorf("console: new: Options.Prefix is %q: want a path such as \"/console\", without a slash at its end", o.Prefix)
	case o.Prefix != "" && !isPlain(o.Prefix):
		return o, fmt.Errorf("console: new: Options.Prefix is %q: want at most %d letters, digits and -._~/, "+
			"without an empty, . or .. part", printable(o.Prefix, maxShown), maxPrefix)
	case o.Mask > MaskNone:
		return o, fmt.Errorf("console: new: Options.Mask is %d: want MaskValues or MaskNone", o.Mask)
	}
	if o.Actor == nil {
		o.Actor = func(r *http.Request) string { return r.RemoteAddr }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

const maxPrefix = 200

// isPlain reports whether a path is the same in a pattern of http.ServeMux, in a URL and in HTML.
func isPlain(prefix string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/"
	return len(prefix) <= maxPrefix && path.Clean(prefix) == prefix && strings.Trim(prefix, letters) == ""
}
