// Package stripe spreads counters over several cache lines, so that cores do not wait for each
// other.
package stripe

import "unsafe"

// Of returns one of n stripes. n is a power of two. The result depends on the address of the
// goroutine's stack. Calls of one goroutine mostly get the same stripe, and two goroutines mostly
// get different ones.
func Of(n int) int {
	var here byte
	stack := uint64(uintptr(unsafe.Pointer(&here))) >> 11 // stacks have 2 KiB or more
	return int(stack*0x9e3779b97f4a7c15>>40) & (n - 1)
}
