// Package redstartconnect runs the middlewares of sessions and limits in a Connect server.
//
// # Quick start
//
//	middlewares := redstartconnect.Interceptor(
//		sessions.Middleware,
//		limiter.Middleware(ratelimit.Header("X-Api-Key")),
//	)
//	path, handler := ordersv1connect.NewOrdersHandler(orders, connect.WithInterceptors(middlewares))
//
// # Requests
//
// A middleware gets a request with the header of the call, the address of the connection, and the
// procedure, such as "/shop.v1.Orders/Create", as its Pattern and path. So each [ratelimit.KeyFunc]
// works, and [ratelimit.Route] returns the procedure. The handler runs inside of the middlewares
// with their context: FromContext of a Manager returns the session.
//
// # Answers
//
// A call that a middleware refuses has the code of its HTTP status: 429 is CodeResourceExhausted
// with RetryInfo (google.rpc), 503 is CodeUnavailable, 400 is CodeInvalidArgument. A rule with a
// limit of 0 has no RetryInfo, because waiting does not help. The trailer has the fields of limits,
// RateLimit and RateLimit-Policy.
//
// # Sessions
//
// Set Bearer in session.Options. The token is in the header Authorization, as "Bearer <token>". A
// client without a token sends "Bearer" with the call that logs in. If a call changes the token,
// the new token is in the trailer Session-Token, or in the metadata of the error.
//
// # Limits
//
// A stream costs one token and one permit, whatever the number of its messages. A middleware that
// reads or writes bodies does not work here: an idempotency executor, compression. Middlewares wrap
// each call again, so they should keep no state of their own.
package redstartconnect
