package main

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// openSecondary unlocks and opens the other side of a pseudo terminal, with 80 columns and 24 rows.
func openSecondary(primary *os.File) (*os.File, error) {
	var unlock, number int32
	dimensions := [4]uint16{24, 80}
	for _, call := range []struct {
		request uintptr
		at      unsafe.Pointer
	}{{syscall.TIOCSPTLCK, unsafe.Pointer(&unlock)}, {syscall.TIOCGPTN, unsafe.Pointer(&number)},
		{syscall.TIOCSWINSZ, unsafe.Pointer(&dimensions)}} {
		if _, _, failed := syscall.Syscall(syscall.SYS_IOCTL, primary.Fd(), call.request, uintptr(call.at)); failed != 0 {
			return nil, failed
		}
	}
	return os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
}
