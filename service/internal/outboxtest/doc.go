// Package outboxtest runs the library's outbox on SQLite and PostgreSQL. It holds tests alone: the library has no database drivers.
package outboxtest
