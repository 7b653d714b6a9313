package observe

import "context"

// Operation says what is done: which pattern, which one of that pattern, and what with it. The
// three are constants of the program, fit for span names and labels.
type Operation struct {
	Pattern string // "cache", "lock", "events", "session", "ratelimit"
	Name    string // what the user called the cache, bus, limiter; "" where there is one per client
	Verb    string // "get", "acquire", "publish": what the caller asked for
}

// String returns "cache.get users", the span name.
func (o Operation) String() string {
	s := o.Pattern + "." + o.Verb
	if o.Name != "" {
		s += " " + o.Name
	}
	return s
}

// Observer is told of operations. It must be safe for concurrent use.
//
// Start is called before the operation with the caller's context. The operation runs with the
// context that Start returns, so that what the operation calls (a loader, a handler) sees the
// span as its parent; it must derive from the one that was given. The returned function is called
// exactly once, when the operation ends, with its error or nil; it may be nil if the end is of no
// interest. Both run on the caller's goroutine and delay it.
type Observer interface {
	Start(ctx context.Context, op Operation) (context.Context, func(err error))
}

// Multi tells several observers, in order, and of the end in the opposite order, as deferred calls
// would. Nil observers are left out; with none left Multi returns nil, which is "no observer".
func Multi(observers ...Observer) Observer {
	var all multi
	for _, o := range observers {
		if o != nil {
			all = append(all, o)
		}
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

type multi []Observer

func (m multi) Start(ctx context.Context, op Operation) (context.Context, func(err error)) {
	ends := make([]func(error), len(m))
	for i, o := range m {
		ctx, ends[i] = o.Start(ctx, op)
	}
	return ctx, func(err error) {
		for i := len(ends) - 1; i >= 0; i-- {
			if ends[i] != nil {
				ends[i](err)
			}
		}
	}
}
