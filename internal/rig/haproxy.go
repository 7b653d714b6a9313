package rig

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

// haproxyConfig passes bytes in TCP mode, and checks that the server is a primary.
const haproxyConfig = `global
  maxconn 512
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
listen redis
  bind %s
  option tcp-check
  tcp-check send PING\r\n
  tcp-check expect string +PONG
  server primary %s check inter 100ms on-marked-down shutdown-sessions
`

// HAProxy starts HAProxy in TCP mode before target (host:port), and returns its address. It ends
// with the test.
func HAProxy(t testing.TB, target string) (addr string) {
	t.Helper()
	Need(t, TierAll)
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("rig: haproxy is not on PATH: install it with: apt-get install -y haproxy")
	}
	port, err := faults.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(port.Release)

	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, haproxyConfig, port.Addr(), target), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd := exec.Command(program, "-db", "-f", file) // in the foreground
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // the error says that it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	Eventually(t, 20*time.Second, "HAProxy passes a PING", func() bool { return pings(port.Addr()) })
	return port.Addr()
}

// pings reports whether the server at addr answers PING.
func pings(addr string) bool {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Second))
	if _, err := nc.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 7)
	_, err = nc.Read(answer)
	return err == nil && strings.HasPrefix(string(answer), "+PONG")
}
