package idempotency

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Options configure an [Executor]. Only Scope is required.
type Options struct {
	// Scope returns the client that a key belongs to, such as the id of the user. Keys of two
	// scopes are different keys, so a client cannot read the result of another client (I3). Use
	// [OneScope] if all requests come from one client.
	Scope ScopeFunc
	// Methods are the methods whose requests have a key. Requests of other methods pass. Default:
	// POST and PATCH. All other methods of HTTP are idempotent.
	Methods []string
	// Required makes Middleware answer 400 to a request of Methods without a key. Default: such a
	// request is executed, and nothing is stored.
	Required bool
	// AllowUnquoted accepts a key without quotes, as many clients send it: abc is the same key as
	// "abc". Default: such a key is 400, because the draft requires a String.
	AllowUnquoted bool
	// Retention is how long a result is stored and replayed. After it, the key is free. Default 24
	// h, from Lease up to 366 days.
	Retention time.Duration
	// Lease is how long a key stays taken after its process crashed. It is renewed every third of
	// this time while the handler runs. Default 15 s, from 100 ms to 1 h.
	Lease time.Duration
	// Timeout ends the context of the handler. Default 1 min, from 1 ms to 24 h. The end of the
	// client's connection does not end the context, because the client may ask for the result
	// again.
	Timeout time.Duration
	// MaxRequestBytes is the longest request body that is read into memory and is part of the
	// fingerprint. Default 1 MiB, at most 64 MiB.
	MaxRequestBytes int64
	// LargeRequests is what happens with longer bodies. Default [RefuseLarge].
	LargeRequests LargeRequests
	// MaxResponseBytes is the longest response, header and body, that is stored. A longer one is
	// sent, and a repeated request is answered as not repeatable (I2). Default 256 KiB, at most 16
	// MiB.
	MaxResponseBytes int
	// Retryable reports whether a response with this status frees the key, so that a repeated
	// request is executed again. Default: no status does. The draft asks for the result of the
	// first execution, success or error.
	Retryable func(status int) bool
	// Outage is what happens while Redis does not answer. Default [FailClosed].
	Outage Outage
	// DocumentationURL is the type of the problem documents of this package (RFC 9457). It should
	// lead to the documentation of your API. Default: the address of the draft.
	DocumentationURL string
}

// ScopeFunc returns the client that a request comes from, in at most 512 bytes: a user, a tenant, a
// session's public id. It must not return a secret, because it is part of a key in Redis. It
// returns [ErrNoScope] if the request has no client.
type ScopeFunc func(r *http.Request) (string, error)

// OneScope is a [ScopeFunc] for a service with one client. With several clients, a client that
// knows or guesses the key of another client gets its result.
func OneScope(*http.Request) (string, error) { return "", nil }

// LargeRequests is what Middleware does with a request body above [Options.MaxRequestBytes].
type LargeRequests uint8

// The policies for large bodies.
const (
	// RefuseLarge answers 413. It is the default.
	RefuseLarge LargeRequests = iota
	// FingerprintPrefix executes the request once. The fingerprint has the first MaxRequestBytes of
	// the body, and the Content-Length. A repeated request with a difference after them gets the
	// stored result instead of 422.
	FingerprintPrefix
)

// String returns the policy's name.
func (l LargeRequests) String() string {
	switch l {
	case RefuseLarge:
		return "refuse-large"
	case FingerprintPrefix:
		return "fingerprint-prefix"
	}
	return fmt.Sprintf("LargeRequests(%d)", uint8(l))
}

// Outage is what Middleware does when Redis does not answer before an execution: it is unreachable,
// out of memory, denies access, or exceeds the command timeout. Degraded answers are logged, at
// most once in 10 s.
type Outage uint8

// The outage policies.
const (
	// FailClosed answers 503 with Retry-After and does not execute the request (I5). It is the
	// default.
	FailClosed Outage = iota
	// FailOpen executes the request without a key. Repeated requests are executed again.
	FailOpen
)

// String returns the policy's name.
func (o Outage) String() string {
	switch o {
	case FailClosed:
		return "fail-closed"
	case FailOpen:
		return "fail-open"
	}
	return fmt.Sprintf("Outage(%d)", uint8(o))
}

const (
	maxKey   = 255 // characters of an Idempotency-Key
	maxScope = 512 // bytes

	// draft is the specification that this package follows: revision 07, of 15 October 2025.
	draft = "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07"
)

func (o Options) withDefaults() (Options, error) {
	if o.Scope == nil {
		return o, errScope
	}

	for _, d := range []struct {
		name              string
		value             *time.Duration
		def, least, limit time.Duration
	}{
		{"Lease", &o.Lease, 15 * time.Second, 100 * time.Millisecond, time.Hour},
		{"Retention", &o.Retention, 24 * time.Hour, time.Second, 366 * 24 * time.Hour},
		{"Timeout", &o.Timeout, time.Minute, time.Millisecond, 24 * time.Hour},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
		if *d.value < d.least || *d.value > d.limit {
			return o, fmt.Errorf("idempotency: Options.%s is %v: it must be 0 (default %v) or from %v to %v",
				d.name, *d.value, d.def, d.least, d.limit)
		}
	}
	if o.Retention < o.Lease {
		return o, fmt.Errorf("idempotency: Options.Retention is %v: it must be at least Lease, %v", o.Retention, o.Lease)
	}

	if o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = 1 << 20
	}
	if o.MaxRequestBytes < 0 || o.MaxRequestBytes > 64<<20 {
		return o, fmt.Errorf("idempotency: Options.MaxRequestBytes is %d: it must be from 0 (default 1 MiB) to 64 MiB",
			o.MaxRequestBytes)
	}
	if o.MaxResponseBytes == 0 {
		o.MaxResponseBytes = 256 << 10
	}
	if o.MaxResponseBytes < 0 || o.MaxResponseBytes > 16<<20 {
		return o, fmt.Errorf("idempotency: Options.MaxResponseBytes is %d: it must be from 0 (default 256 KiB) to 16 MiB",
			o.MaxResponseBytes)
	}

	return o.withPolicies()
}

// withPolicies completes and checks the options that are not numbers.
func (o Options) withPolicies() (Options, error) {
	if o.LargeRequests > FingerprintPrefix {
		return o, fmt.Errorf("idempotency: Options.LargeRequests: unknown value %d", o.LargeRequests)
	}
	if o.Outage > FailOpen {
		return o, fmt.Errorf("idempotency: Options.Outage: unknown value %d", o.Outage)
	}

	if len(o.Methods) == 0 {
		o.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	o.Methods = slices.Clone(o.Methods)
	if slices.Contains(o.Methods, "") {
		return o, fmt.Errorf("idempotency: Options.Methods has an empty method: %q", o.Methods)
	}

	if o.DocumentationURL == "" {
		o.DocumentationURL = draft
	}
	if _, err := url.Parse(o.DocumentationURL); err != nil {
		return o, fmt.Errorf("idempotency: Options.DocumentationURL: %w", err)
	}

	return o, nil
}
