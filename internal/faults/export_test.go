package faults

import (
	"net"
	"os"
	"testing"
)

// Inherit is a copy of a proxy's listener.
func Inherit(t testing.TB, p *Proxy) *os.File {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	file, err := p.listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Frame is frame.
var Frame = frame
