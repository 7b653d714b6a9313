package idempotency

import "errors"

// The errors of this package. A request that is not executed is answered by [Executor.Middleware]
// and has no error.
var (
	// ErrLeaseLost is the cause of the end of a handler's context. Redis did not confirm the lease
	// of the execution in time, or another execution has begun. The handler must stop: its result
	// is not stored.
	ErrLeaseLost = errors.New("idempotency: the lease of the execution was lost")
	// ErrNoScope reports that a [ScopeFunc] found no client in the request. Middleware answers 400.
	ErrNoScope = errors.New("idempotency: the request has no scope")
)

// The reasons why a request has no usable key.
var (
	errSeveralKeys = errors.New("the request has more than one Idempotency-Key field")
	errNotString   = errors.New(`the Idempotency-Key is not a String of RFC 9651, such as "8e03978e-40d5-43e8-bc93-6894a57f9324"`)
	errEmptyKey    = errors.New("the Idempotency-Key is empty")
	errLongKey     = errors.New("the Idempotency-Key is longer than 255 characters")
)

var (
	errNoClient = errors.New("idempotency: New: the client is nil: use redstart.Open")
	errNoName   = errors.New("idempotency: new: the name is empty: pass a name, which is part of the keys")
	errScope    = errors.New("idempotency: Options.Scope is nil: return the user of the request, or use OneScope")
)
