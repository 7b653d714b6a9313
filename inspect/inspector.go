package inspect

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
)

// Inspector reads and repairs what the patterns of one client's namespace keep on the server. Use
// [New]. Its methods are safe for concurrent use. It holds nothing that has to be closed.
type Inspector struct {
	client *redstart.Client
	core   *core.Core
	opt    Options
}

// Options configure an [Inspector].
type Options struct {
	// Actor names who repairs, in the log: a user name, for example. Required unless ReadOnly is
	// set. From 1 to 128 bytes.
	Actor string
	// ReadOnly refuses each repair with [ErrReadOnly], before anything is sent.
	ReadOnly bool
	// ServiceUser is the ACL user whose rights [Inspector.Doctor] checks: the user of the services.
	// Default: the user of this client.
	ServiceUser string
	// Logger receives one record for each repair, and none for a call that found nothing to change.
	// Nil: the logger of the client.
	Logger *slog.Logger
	// SessionKeys has the secrets of session managers, by name. Default none: devices and data of
	// encrypted sessions are not shown. See [SessionKeys].
	SessionKeys map[string]SessionKeys
}

// maxActor bounds Options.Actor, in bytes.
const maxActor = 128

// New returns an Inspector of the client's namespace. It sends no command. Errors name the field
// that is wrong.
func New(client *redstart.Client, opts Options) (*Inspector, error) {
	if client == nil {
		return nil, errors.New("inspect: new: the client is nil: use redstart.Open")
	}
	if opts.Actor == "" && !opts.ReadOnly {
		return nil, errors.New("inspect: new: Options.Actor is empty: name who repairs, or set Options.ReadOnly")
	}
	if len(opts.Actor) > maxActor {
		return nil, fmt.Errorf("inspect: new: Options.Actor is %d bytes long, the limit is %d: use a shorter name",
			len(opts.Actor), maxActor)
	}

	in := &Inspector{client: client, core: clientcore.Of(client), opt: opts}
	if in.opt.Logger == nil {
		in.opt.Logger = in.core.Logger()
	}
	return in, nil
}

// ReadOnly reports whether the Inspector refuses repairs.
func (in *Inspector) ReadOnly() bool { return in.opt.ReadOnly }

// Duration is a [time.Duration] whose JSON is a string of Go's form, such as "1.5s".
type Duration time.Duration

// String returns the duration in Go's form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the duration in Go's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration of Go's form.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("inspect: duration %s: %w", quoted(string(text)), err)
	}
	*d = Duration(parsed)
	return nil
}
