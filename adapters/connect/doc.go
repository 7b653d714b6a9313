// Package redstartconnect limits the calls of a Connect server and gives them their sessions.
//
// # Quick start
//
//	guards := redstartconnect.Interceptor(
//		redstartconnect.Session(sessions),
//		redstartconnect.Limit(limiter, redstartconnect.Header("X-Api-Key")),
//	)
//	path, handler := ordersv1connect.NewOrdersHandler(orders, connect.WithInterceptors(guards))
//
// # Answers
//
// A refused call is CodeResourceExhausted with RetryInfo (google.rpc). A rule with a limit of 0 has
// no RetryInfo, because waiting does not help. If Redis does not answer, the outage policy of the
// limiter decides: [ratelimit.FailClosed] is CodeUnavailable. A call without a key is
// CodeInvalidArgument.
//
// # Sessions
//
// The token is in the header Authorization, as "Bearer <token>". FromContext of the Manager returns
// the session. A call without a token, or with the token of a session that has ended, is a visitor.
// If a call changes the token, for example by Login, the new token is in the trailer Session-Token,
// or in the metadata of the error. If Redis does not answer, the call is CodeUnavailable.
//
// # Limits
//
// A stream costs one token and one permit, whatever the number of its messages.
package redstartconnect
