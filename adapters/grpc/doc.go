// Package redstartgrpc runs the middlewares of sessions and limits in a gRPC server.
//
// # Quick start
//
//	middlewares := []func(http.Handler) http.Handler{
//		sessions.Middleware,
//		limiter.Middleware(ratelimit.Header("X-Api-Key")),
//	}
//	server := grpc.NewServer(grpc.UnaryInterceptor(redstartgrpc.Unary(middlewares...)),
//		grpc.StreamInterceptor(redstartgrpc.Stream(middlewares...)))
//
// # Requests
//
// A middleware gets a request with the metadata of the call as its Header, the address of the
// connection, and the method, such as "/shop.Orders/Create", as its Pattern and path. So each
// [ratelimit.KeyFunc] works, and [ratelimit.Route] returns the method. The handler runs inside of
// the middlewares with their context: FromContext of a Manager returns the session.
//
// # Answers
//
// A call that a middleware refuses has the code of its HTTP status: 429 is RESOURCE_EXHAUSTED with
// RetryInfo and QuotaFailure (google.rpc), 503 is UNAVAILABLE, 400 is INVALID_ARGUMENT. A rule with
// a limit of 0 has no RetryInfo, because waiting does not help. The trailer has the fields of
// limits, "ratelimit" and "ratelimit-policy".
//
// # Sessions
//
// Set Bearer in session.Options. The token is in the metadata "authorization", as "Bearer <token>".
// A client without a token sends "Bearer" with the call that logs in. If a call changes the token,
// the new token is in the trailer "session-token".
//
// # Limits
//
// A stream costs one token and one permit, whatever the number of its messages. A middleware that
// reads or writes bodies does not work here: an idempotency executor, compression. Middlewares wrap
// each call again, so they should keep no state of their own.
package redstartgrpc
