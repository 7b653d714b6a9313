// Package main has the first program of the README. It is a test file, so that the library has no
// package of that name, and the test runs it.
package main

import (
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

func Example() {
	main()
	// Output:
	// loading 42
	// Ada <nil>
	// Ada <nil>
	// Ada <nil>
}
