package inspect

import (
	"context"
	"errors"
	"fmt"
)

// repair is one change that an operator requested.
type repair struct {
	pattern string // "cache"
	verb    string // "delete"
	object  string // the name of the cache, lock, limiter, manager or bus
	part    string // the key, user, group or tag; may be empty
}

// String returns the repair for messages: cache delete "users" "42".
func (r *repair) String() string {
	text := r.pattern + " " + r.verb + " " + quoted(r.object)
	if r.part != "" {
		text += " " + quoted(r.part)
	}
	return text
}

// maxLogged bounds a name in the log, in bytes.
const maxLogged = 1024

// repair runs a change, and logs it with its actor and outcome. With Options.ReadOnly, it returns
// ErrReadOnly and calls nothing. do returns how many things it changed.
//
// A call that found nothing to change is no repair, and is not logged. A change that failed, or
// whose outcome is unknown, is logged, because it may have happened.
func (in *Inspector) repair(ctx context.Context, r repair, do func(ctx context.Context) (changed int64, err error)) (int64, error) {
	if in.opt.ReadOnly {
		return 0, fmt.Errorf("inspect: %s: %w", &r, ErrReadOnly)
	}

	changed, err := do(ctx)
	switch {
	case changed > 0:
	case err == nil:
		return 0, nil
	case errors.Is(err, ErrNotFound):
		return 0, failure(r.String(), "", err)
	}

	log := in.opt.Logger.With("actor", in.opt.Actor, "pattern", r.pattern, "action", r.verb,
		"object", truncated(r.object), "part", truncated(r.part))
	if err != nil {
		log.WarnContext(ctx, "inspect: a repair failed", "changed", changed, "error", err)
		return changed, failure(r.String(), "", err)
	}
	log.InfoContext(ctx, "inspect: a repair was done", "changed", changed)
	return changed, nil
}

// truncated bounds a name for the log.
func truncated(name string) string {
	if len(name) > maxLogged {
		return name[:maxLogged] + "…"
	}
	return name
}
