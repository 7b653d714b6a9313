package rig

import "os"

// Soak returns long if REDSTART_SOAK is 1, and short otherwise.
func Soak(short, long int) int {
	if os.Getenv("REDSTART_SOAK") == "1" {
		return long
	}
	return short
}
