package dial

import "net"

// MaxSkipped is the greatest number of reads between two that try again.
const MaxSkipped = backoffMax

// SharedEvery is the number of reads that try again, of which one lets other goroutines run first.
// If these run for SharedFor or longer, the read counts as a failure.
const (
	SharedEvery = sharedEvery
	SharedFor   = sharedFor
)

// Tried returns how many reads of a connection could try again.
func Tried(nc net.Conn) int64 {
	switch nc := nc.(type) {
	case tcpConn:
		return nc.tried.Load()
	case unixConn:
		return nc.tried.Load()
	case tlsConn:
		return Tried(nc.under)
	}
	return 0
}
