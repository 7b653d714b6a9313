package redstartgrpc

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// Guard runs before a call. It calls handle, or returns an error with a status. method is the full
// name, such as "/shop.Orders/Create". trailer sends metadata after the call.
type Guard func(ctx context.Context, method string, trailer func(metadata.MD), handle func(context.Context) error) error

// KeyFunc returns the key that a call counts against, such as a user. It returns
// [ratelimit.ErrNoKey] if the call has no key. Do not return a secret, because keys are visible in
// Redis.
type KeyFunc func(ctx context.Context, method string) (string, error)

// Peer returns the address of the connection, without the port, as the key.
func Peer() KeyFunc {
	return func(ctx context.Context, _ string) (string, error) {
		p, ok := peer.FromContext(ctx)
		if !ok {
			return "", ratelimit.ErrNoKey
		}
		if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			return host, nil
		}
		return p.Addr.String(), nil
	}
}

// Metadata returns the first value of a metadata field as the key, for example of an id that a
// gateway has checked.
func Metadata(name string) KeyFunc {
	return func(ctx context.Context, _ string) (string, error) {
		if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 && values[0] != "" {
			return values[0], nil
		}
		return "", ratelimit.ErrNoKey
	}
}

// Limit charges one token of l per call.
func Limit(l *ratelimit.Limiter, key KeyFunc) Guard {
	return func(ctx context.Context, method string, _ func(metadata.MD), handle func(context.Context) error) error {
		name, err := key(ctx, method)
		var result ratelimit.Result
		if err == nil {
			result, err = l.Allow(ctx, name)
		}
		switch {
		case err != nil:
			return failure(ctx, err)
		case !result.Allowed:
			return exhausted(result.Rule, result.RetryAfter)
		}
		return handle(ctx)
	}
}

// Concurrency holds a permit of c while a call runs.
func Concurrency(c *ratelimit.Concurrency, key KeyFunc) Guard {
	return func(ctx context.Context, method string, _ func(metadata.MD), handle func(context.Context) error) error {
		name, err := key(ctx, method)
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
			return exhausted("concurrency", busy.RetryAfter)
		}
		return failure(ctx, err)
	}
}

// Session gives each call its session. The FromContext method of m returns it.
func Session[T any](m *session.Manager[T]) Guard {
	return func(ctx context.Context, _ string, trailer func(metadata.MD), handle func(context.Context) error) error {
		var s *session.Session[T]
		before, err := "", error(nil)
		if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
			if scheme, token, ok := strings.Cut(values[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
				before = strings.TrimSpace(token)
				s, err = m.Load(ctx, before)
			}
		}
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			return failure(ctx, err)
		}
		ctx = m.NewContext(ctx, s)
		err = handle(ctx)
		if now := m.FromContext(ctx).Token(); now != "" && now != before {
			trailer(metadata.Pairs("session-token", now))
		}
		return err
	}
}

func exhausted(rule string, retryAfter time.Duration) error {
	quota := &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: rule, Description: "used up"}}}
	details := []protoadapt.MessageV1{quota}
	if retryAfter < ratelimit.Never {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(retryAfter)})
	}
	s, err := status.New(codes.ResourceExhausted, "the call exceeds a quota").WithDetails(details...)
	if err != nil { // cannot happen: the code is not OK, and the details can be encoded
		return status.Error(codes.ResourceExhausted, "the call exceeds a quota")
	}
	return s.Err()
}

// failure returns the status of an error before the call. The client gets no details of Redis.
func failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, ratelimit.ErrNoKey):
		return status.Error(codes.InvalidArgument, "the call does not say who it is from")
	}
	return status.Error(codes.Unavailable, "the call cannot be checked at the moment")
}
