package rig

import "os"

// Soak returns long when REDSTART_SOAK=1 asks for long runs, else short.
func Soak(short, long int) int {
	if os.Getenv("REDSTART_SOAK") == "1" {
		return long
	}
	return short
}
