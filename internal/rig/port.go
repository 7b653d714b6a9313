package rig

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

type port struct {
	number int
	hold   net.PacketConn
}

func reservePort() (*port, error) {
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
		return &port{number: n, hold: hold}, nil
	}
	return nil, errors.New("rig: no free port found")
}

func (p *port) addr() string { return loopback(p.number) }

func (p *port) release() {
	if p != nil && p.hold != nil {
		p.hold.Close()
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
