// Package bench measures Redstart and the libraries that it replaces on the same work, in the same run.
// It is a module of its own so that the rivals stay out of the library's dependencies.
package bench
