//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package main

import "io"

// terminalSize reports that there is no terminal: top writes plain text.
func terminalSize(io.Writer) (size, bool) { return size{}, false }
