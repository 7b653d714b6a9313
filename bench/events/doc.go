// Package events measures Redstart's buses beside raw go-redis and raw rueidis Pub/Sub, and beside watermill-redisstream, on one
// server, in one run.
package events
