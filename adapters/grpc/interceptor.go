package redstartgrpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Unary returns an interceptor that runs the guards in their order.
func Unary(guards ...Guard) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
		trailer := func(md metadata.MD) { _ = grpc.SetTrailer(ctx, md) } // an error means that the call has ended
		err = run(ctx, guards, info.FullMethod, trailer, func(ctx context.Context) error {
			reply, err = handler(ctx, req)
			return err
		})
		return reply, err
	}
}

// Stream returns an interceptor that runs the guards in their order.
func Stream(guards ...Guard) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return run(stream.Context(), guards, info.FullMethod, stream.SetTrailer, func(ctx context.Context) error {
			return handler(srv, &withContext{stream, ctx})
		})
	}
}

func run(ctx context.Context, guards []Guard, method string, trailer func(metadata.MD), handle func(context.Context) error) error {
	if len(guards) == 0 {
		return handle(ctx)
	}
	return guards[0](ctx, method, trailer, func(ctx context.Context) error {
		return run(ctx, guards[1:], method, trailer, handle)
	})
}

// withContext is a stream with the context of the guards.
type withContext struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context of the guards.
func (w *withContext) Context() context.Context { return w.ctx }
