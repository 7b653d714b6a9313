// Package bench measures Redstart and the libraries that it replaces, with the same work in the
// same run. It is a separate module, so that the library does not depend on its rivals.
package bench
