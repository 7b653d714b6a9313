package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// A port for a server must stay ours while the server is down for a restart, and
// no other test process may be given it in between. So ports come from below the
// kernel's ephemeral range (no outgoing connection takes them), and a port is
// reserved by holding the UDP socket of the same number, which the kernel gives
// to one process and takes back when that process dies.
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
