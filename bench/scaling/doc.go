// Package scaling measures the costs of the patterns on a server: memory per key and commands per
// operation. Its test checks the table of docs/scaling.md.
package scaling
