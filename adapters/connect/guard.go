package redstartconnect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Call is a call of a procedure. Trailer is sent after the call.
type Call struct {
	Procedure       string // such as "/shop.v1.Orders/Create"
	Peer            connect.Peer
	Header, Trailer http.Header
}

// Guard runs before a call. It calls handle, or returns a *connect.Error.
type Guard func(ctx context.Context, call *Call, handle func(context.Context) error) error

// KeyFunc returns the key that a call counts against, such as a user. It returns
// [ratelimit.ErrNoKey] if the call has no key. Do not return a secret, because keys are visible in
// Redis.
type KeyFunc func(ctx context.Context, call *Call) (string, error)

// Peer returns the address of the connection, without the port, as the key.
func Peer(_ context.Context, call *Call) (string, error) {
	if call.Peer.Addr == "" {
		return "", ratelimit.ErrNoKey
	}
	if host, _, err := net.SplitHostPort(call.Peer.Addr); err == nil {
		return host, nil
	}
	return call.Peer.Addr, nil
}

// Header returns the value of a header field as the key, for example of an id that a gateway has
// checked.
func Header(name string) KeyFunc {
	return func(_ context.Context, call *Call) (string, error) {
		if value := call.Header.Get(name); value != "" {
			return value, nil
		}
		return "", ratelimit.ErrNoKey
	}
}

// Limit charges one token of l per call.
func Limit(l *ratelimit.Limiter, key KeyFunc) Guard {
	return func(ctx context.Context, call *Call, handle func(context.Context) error) error {
		name, err := key(ctx, call)
		var result ratelimit.Result
		if err == nil {
			result, err = l.Allow(ctx, name)
		}
		switch {
		case err != nil:
			return failure(ctx, err)
		case !result.Allowed:
			return exhausted(result.RetryAfter)
		}
		return handle(ctx)
	}
}

// Concurrency holds a permit of c while a call runs.
func Concurrency(c *ratelimit.Concurrency, key KeyFunc) Guard {
	return func(ctx context.Context, call *Call, handle func(context.Context) error) error {
		name, err := key(ctx, call)
		if err != nil {
			return failure(ctx, err)
		}
		began := false
		err = c.Do(ctx, name, func(ctx context.Context) error {
			began = true
			return handle(ctx)
		})
		busy, isBusy := errors.AsType[*ratelimit.BusyError](err)
		switch {
		case began:
			return err
		case isBusy:
			return exhausted(busy.RetryAfter)
		}
		return failure(ctx, err)
	}
}

// Session gives each call its session. The FromContext method of m returns it.
func Session[T any](m *session.Manager[T]) Guard {
	return func(ctx context.Context, call *Call, handle func(context.Context) error) error {
		var s *session.Session[T]
		before, err := "", error(nil)
		if scheme, token, ok := strings.Cut(call.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
			before = strings.TrimSpace(token)
			s, err = m.Load(ctx, before)
		}
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return failure(ctx, err)
		}
		ctx = m.NewContext(ctx, s)
		err = handle(ctx)
		if now := m.FromContext(ctx).Token(); now != "" && now != before {
			call.Trailer.Set(session.TokenHeader, now)
		}
		return err
	}
}

func exhausted(retryAfter time.Duration) error {
	refused := connect.NewError(connect.CodeResourceExhausted, errors.New("the call exceeds a quota"))
	if retryAfter < ratelimit.Never {
		detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
		if err == nil { // a duration can always be encoded
			refused.AddDetail(detail)
		}
	}
	return refused
}

// failure returns the error of a call that has not begun. The client gets no details of Redis.
func failure(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, ctx.Err())
	case ctx.Err() != nil:
		return connect.NewError(connect.CodeCanceled, ctx.Err())
	case errors.Is(err, ratelimit.ErrNoKey):
		return connect.NewError(connect.CodeInvalidArgument, errors.New("the call does not say who it is from"))
	}
	return connect.NewError(connect.CodeUnavailable, errors.New("the call cannot be checked at the moment"))
}
