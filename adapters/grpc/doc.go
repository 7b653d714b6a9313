// Package redstartgrpc limits the calls of a gRPC server and gives them their sessions.
//
// # Quick start
//
//	guards := []redstartgrpc.Guard{
//		redstartgrpc.Session(sessions),
//		redstartgrpc.Limit(limiter, redstartgrpc.Metadata("x-api-key")),
//	}
//	server := grpc.NewServer(grpc.UnaryInterceptor(redstartgrpc.Unary(guards...)),
//		grpc.StreamInterceptor(redstartgrpc.Stream(guards...)))
//
// # Answers
//
// A refused call is RESOURCE_EXHAUSTED with RetryInfo and QuotaFailure (google.rpc). A rule with a
// limit of 0 has no RetryInfo, because waiting does not help. If Redis does not answer, the outage
// policy of the limiter decides: [ratelimit.FailClosed] is UNAVAILABLE. A call without a key is
// INVALID_ARGUMENT.
//
// # Sessions
//
// The token is in the metadata "authorization", as "Bearer <token>". FromContext of the Manager
// returns the session. A call without a token, or with the token of a session that has ended, is a
// visitor. If a call changes the token, for example by Login, the new token is in the trailer
// "session-token". If Redis does not answer, the call is UNAVAILABLE.
//
// # Limits
//
// A stream costs one token and one permit, whatever the number of its messages.
package redstartgrpc
