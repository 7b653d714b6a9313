// Package stripe spreads what many goroutines count at once, so that cores don't wait for one cache line.
package stripe

import "unsafe"

// Of returns one of n stripes, a power of two: mostly another for each goroutine that runs, and mostly the same for one goroutine,
// whose core then has its line. It depends on where the goroutine's stack lies.
func Of(n int) int {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // stacks are 2 kB or more
	return int(stack*0x9e3779b97f4a7c15>>40) & (n - 1)
}
