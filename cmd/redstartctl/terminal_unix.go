//go:build linux || darwin || freebsd || netbsd || openbsd

package main

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// terminalSize returns the size of the terminal that w writes to. It returns false if w is no
// terminal.
func terminalSize(w io.Writer) (size, bool) {
	file, ok := w.(*os.File)
	if !ok {
		return size{}, false
	}
	var answer struct{ rows, columns, width, height uint16 }
	_, _, failed := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&answer)))
	if failed != 0 {
		return size{}, false
	}
	if answer.rows == 0 || answer.columns == 0 {
		return defaultSize, true
	}
	return size{int(answer.columns), int(answer.rows)}, true
}
