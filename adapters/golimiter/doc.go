// Package redstartgolimiter is a store of sethvargo/go-limiter on a rate limiter of Redstart.
//
// # Quick start
//
//	store, err := redstartgolimiter.New(limiter)
//	if err != nil {
//		return err
//	}
//	limits, err := httplimit.NewMiddleware(store, httplimit.IPKeyFunc())
//
// # Differences from the stores of go-limiter
//
//   - The algorithm is the one of the Limiter. Its default, GCRA, returns tokens continuously and
//     not at the end of an interval.
//   - Get of an unknown key returns the limit twice, and not 0.
//   - Set stores a plan for the key. Other processes use it within 1 s. A limiter has at most
//     100,000 plans.
//   - Burst returns tokens that were taken. It cannot raise a key above its limit: then it returns
//     an error that is errors.ErrUnsupported.
//   - If Redis does not answer, the outage policy of the Limiter decides. httplimit answers an
//     error of [ratelimit.FailClosed] with status 500.
//
// New code uses the Middleware method of [ratelimit.Limiter]. It sends the fields RateLimit and
// RateLimit-Policy, and answers 503 if Redis does not answer.
package redstartgolimiter
