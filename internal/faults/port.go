package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// A server keeps its port while it is down for a restart, and no other test process may take the
// port in the meantime. So ports are below the ephemeral range of the kernel, which outgoing
// connections use. The UDP socket with the same number reserves a port: the kernel gives it to one
// process, and frees it when that process ends.
const (
	firstPort = 12000
	lastPort  = 31999
)

// Port is a reserved port of the loopback address.
type Port struct {
	Number int
	hold   net.PacketConn
}

// ReservePort reserves a free port until [Port.Release].
func ReservePort() (*Port, error) {
	for range 2000 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		hold, err := net.ListenPacket("udp4", loopback(n))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp4", loopback(n))
		if err != nil {
			hold.Close()
			continue
		}
		l.Close()
		return &Port{Number: n, hold: hold}, nil
	}
	return nil, errors.New("faults: no free port found: close programs that listen on loopback ports")
}

// Addr returns the host:port.
func (p *Port) Addr() string { return loopback(p.Number) }

// Release frees the port. A nil Port has none.
func (p *Port) Release() {
	if p != nil && p.hold != nil {
		p.hold.Close()
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
