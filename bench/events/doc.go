// Package events measures Redstart's buses beside raw go-redis and raw rueidis Pub/Sub, and beside watermill-redisstream, on one
// server, in one run. Its tests run what needs other modules: watermill's suite on the durable bus, and the outbox on a database.
package events
