// Package lock compares package lock with the Go libraries that people use instead. Its benchmarks do the same work for each,
// in one run, on one server.
package lock
