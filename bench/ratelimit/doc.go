// Package ratelimit compares Redstart's limiter with redis_rate, ulule/limiter and throttled, on
// one server, in one run.
package ratelimit
