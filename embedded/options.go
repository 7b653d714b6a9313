package embedded

import (
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Options are the options of [Start]. The zero value is a server on a free port, without a log.
type Options struct {
	// Addr is the host:port to listen on. The host must be a loopback address, because the server
	// has no password. Default 127.0.0.1 and a free port.
	Addr string

	// InMemory opens no port. Connections come from [Server.Dial] only, and the results of
	// [Server.Addr] and [Server.URL] are no network address. A testing/synctest bubble needs
	// InMemory, because its time stands still while a goroutine waits for a socket. Default false.
	InMemory bool

	// ScriptTimeout is how long one script may run, at least 1 ms. Then the script ends with an
	// error, and its writes stay. Other commands wait for the script. SCRIPT KILL ends a script
	// that has written nothing. Default 5 s.
	ScriptTimeout time.Duration

	// Logger receives one line at the start. Nil logs nothing.
	Logger *slog.Logger
}

func (o Options) addr() (string, error) {
	if o.InMemory && o.Addr != "" {
		return "", fmt.Errorf("embedded: Options.Addr: %q is a port, but Options.InMemory opens no port: set one of them", o.Addr)
	}
	if o.Addr == "" {
		return "127.0.0.1:0", nil
	}
	host, _, err := net.SplitHostPort(o.Addr)
	if err != nil {
		return "", fmt.Errorf("embedded: Options.Addr: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", fmt.Errorf("embedded: Options.Addr: %q is not a loopback address: use 127.0.0.1, ::1 or localhost", o.Addr)
	}
	return o.Addr, nil
}
