package embedded

import (
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Options configure Start. The zero value is a silent server on a free port.
type Options struct {
	// Addr is host:port to listen on; the host must be a loopback address, as the
	// server asks nobody for a password. Default 127.0.0.1 and a free port.
	Addr string

	// InMemory opens no port: connections come from Dial alone. A testing/synctest bubble needs it,
	// since its time stands still while a goroutine waits for a socket. Addr and URL then name no
	// place on the network. Default false.
	InMemory bool

	// ScriptTimeout is how long one script may run, from 1 ms; it then ends with an error, and what
	// it has written stays. Other commands wait for it. SCRIPT KILL ends a script that has written
	// nothing. Default 5 s.
	ScriptTimeout time.Duration

	// Log gets one line at the start. Default: silent.
	Log *slog.Logger
}

func (o Options) addr() (string, error) {
	if o.InMemory && o.Addr != "" {
		return "", fmt.Errorf("embedded: Options.Addr: %q is a port, and Options.InMemory opens none", o.Addr)
	}
	if o.Addr == "" {
		return "127.0.0.1:0", nil
	}
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return "", fmt.Errorf("embedded: Options.Addr: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("embedded: Options.Addr: %q is not a loopback address (127.0.0.1, ::1, localhost)", o.Addr)
	}
	return o.Addr, nil
}
