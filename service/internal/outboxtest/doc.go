// Package outboxtest tests the outbox of events on real databases. Package events itself has no
// database drivers.
package outboxtest
