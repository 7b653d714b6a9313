// Package events compares the buses of Redstart with Pub/Sub of raw go-redis and raw rueidis and
// with watermill-redisstream, on one server in one run. Its tests need another module: the
// outbox on a database.
package events
