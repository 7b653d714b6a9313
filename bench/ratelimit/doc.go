// Package ratelimit measures Redstart's limiter beside redis_rate, ulule/limiter and throttled, on one server, in one run.
package ratelimit
