package redstartconnect

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"connectrpc.com/connect"
)

// Interceptor returns an interceptor that runs the guards in their order, for calls and streams of
// a handler. It does nothing in a client.
func Interceptor(guards ...Guard) connect.Interceptor { return interceptor(guards) }

type interceptor []Guard

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (reply connect.AnyResponse, err error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		call := &Call{req.Spec().Procedure, req.Peer(), req.Header(), http.Header{}}
		err = run(ctx, i, call, func(ctx context.Context) error {
			reply, err = next(ctx, req)
			return err
		})
		if err != nil {
			return nil, withMeta(err, call.Trailer)
		}
		maps.Copy(reply.Trailer(), call.Trailer)
		return reply, nil
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		call := &Call{conn.Spec().Procedure, conn.Peer(), conn.RequestHeader(), conn.ResponseTrailer()}
		return run(ctx, i, call, func(ctx context.Context) error { return next(ctx, conn) })
	}
}

func run(ctx context.Context, guards []Guard, call *Call, handle func(context.Context) error) error {
	if len(guards) == 0 {
		return handle(ctx)
	}
	return guards[0](ctx, call, func(ctx context.Context) error { return run(ctx, guards[1:], call, handle) })
}

// withMeta adds the trailer to an error, because a failed call has no response.
func withMeta(err error, trailer http.Header) error {
	if len(trailer) == 0 {
		return err
	}
	failed, ok := errors.AsType[*connect.Error](err)
	if !ok {
		failed = connect.NewError(connect.CodeOf(err), err)
	}
	maps.Copy(failed.Meta(), trailer)
	return failed
}
