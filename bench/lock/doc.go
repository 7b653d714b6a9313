// Package lock compares package lock with the Go libraries that people use instead. Its benchmarks
// do the same work with each library, in one run, on one server.
package lock
