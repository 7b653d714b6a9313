// Package scaling measures what the patterns cost a server: memory per key and commands per operation. Its test keeps the table of
// docs/scaling.md true.
package scaling
