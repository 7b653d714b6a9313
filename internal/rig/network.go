package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

// Network is a network namespace for processes of a test. A cable (veth) joins it to the namespace
// of the test, and [Network.Cut] pulls the cable. The processes reach the servers through proxies
// ([Network.Proxy]), and nothing else. A Network ends with its test.
type Network struct {
	t      testing.TB
	anchor *Proc  // the process that the namespace exists for
	cable  string // the end in the namespace of the test
	host   string // the address of that end
}

// NetworksMissing returns why this process can't make a [Network], or nil. It needs root and the
// programs ip, unshare and nsenter of Linux.
func NetworksMissing() error {
	var errs []error
	if os.Geteuid() != 0 {
		errs = append(errs, errors.New("rig: a network namespace needs root"))
	}
	for _, program := range []string{"ip", "unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("rig: %s is not on PATH: install it with: apt-get install -y iproute2 util-linux", program))
		}
	}
	return errors.Join(errs...)
}

var networks atomic.Int64

// NewNetwork makes a network of two addresses. They are from 198.18.0.0/15, which RFC 2544 reserves
// for tests.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if err := NetworksMissing(); err != nil {
		t.Fatal(err)
	}
	seq := networks.Add(1)
	first := (int64(os.Getpid())*16 + seq) % (1 << 15) * 4
	address := func(n int64) string {
		n += first
		return fmt.Sprintf("198.%d.%d.%d", 18+n>>16, n>>8&255, n&255)
	}
	n := &Network{t: t, cable: fmt.Sprintf("rig%d-%d", os.Getpid(), seq), host: address(1)}
	n.anchor = Program(t, exec.Command("unshare", "--net", "sh", "-c", "echo ready; exec cat"))
	n.anchor.Line(10 * time.Second)

	n.ip("link", "add", n.cable, "type", "veth", "peer", "name", "cable", "netns", strconv.Itoa(n.anchor.PID()))
	n.ip("address", "add", n.host+"/30", "dev", n.cable)
	n.ip("link", "set", n.cable, "up")
	n.inside("ip", "address", "add", address(2)+"/30", "dev", "cable")
	n.inside("ip", "link", "set", "cable", "up")
	return n
}

// Spawn starts a process in the network, like the function [Spawn].
func (n *Network) Spawn(role string, env map[string]string) *Proc {
	n.t.Helper()
	cmd := roleCommand(role, env)
	entered := exec.Command("nsenter", append([]string{n.namespace(), "--"}, cmd.Args...)...)
	entered.Env = cmd.Env
	return launch(n.t, role, entered)
}

// Proxy starts a proxy to target (host:port) that the processes of the network reach.
func (n *Network) Proxy(target string) *Proxy {
	n.t.Helper()
	port, err := faults.ReservePort()
	if err != nil {
		n.t.Fatal(err)
	}
	return listen(n.t, port, net.JoinHostPort(n.host, strconv.Itoa(port.Number)), func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", target)
	})
}

// Cut pulls the cable. Packets are lost in both directions, and connections stay open.
func (n *Network) Cut() { n.ip("link", "set", n.cable, "down") }

// Join ends Cut. The kernels send lost packets again.
func (n *Network) Join() { n.ip("link", "set", n.cable, "up") }

func (n *Network) namespace() string { return fmt.Sprintf("--net=/proc/%d/ns/net", n.anchor.PID()) }

func (n *Network) ip(args ...string) { n.command(exec.Command("ip", args...)) }

// inside runs a program in the network.
func (n *Network) inside(args ...string) {
	n.command(exec.Command("nsenter", append([]string{n.namespace(), "--"}, args...)...))
}

func (n *Network) command(cmd *exec.Cmd) {
	n.t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("rig: %v: %v: %s", cmd.Args, err, out)
	}
}
