package rig_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// ask is a role: for each line, it sends PING to a server on one connection and prints the reply,
// or "silence" if there is none within 300 ms.
func ask() {
	nc, err := net.DialTimeout("tcp", os.Getenv("SERVER"), 10*time.Second)
	if err != nil {
		fmt.Println(err)
		return
	}
	replies := bufio.NewReader(nc)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		_, err := fmt.Fprint(nc, "PING\r\n")
		if err == nil {
			err = nc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
		reply := ""
		if err == nil {
			reply, err = replies.ReadString('\n')
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			fmt.Println("silence")
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Print(reply)
		}
	}
}

// A cut network is silent and keeps its connections. Another network is the control. Without root
// there is no network, and the error says so.
func TestNetworkCut(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	if err := rig.NetworksMissing(); err != nil {
		t.Logf("no networks here: %v", err)
		if os.Geteuid() == 0 {
			t.Error("root can make networks: install the missing programs")
		}
		return
	}
	server := rig.Standalone(t)
	cut, control := rig.NewNetwork(t), rig.NewNetwork(t)
	in := func(n *rig.Network) *rig.Proc {
		return n.Spawn("ask", map[string]string{"SERVER": n.Proxy(server.Addr()).Addr()})
	}
	a, b := in(cut), in(control)
	expect := func(p *rig.Proc, want string) {
		t.Helper()
		p.Send("ping")
		if got := p.Line(20 * time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}

	expect(a, "+PONG")
	cut.Cut()
	expect(a, "silence")
	expect(b, "+PONG")

	cut.Join()
	rig.Eventually(t, 20*time.Second, "the connection works again", func() bool {
		a.Send("ping")
		return a.Line(20*time.Second) == "+PONG"
	})

	// A process of a network reaches no server of this machine without a proxy.
	direct := control.Spawn("ask", map[string]string{"SERVER": server.Addr()})
	if got := direct.Line(20 * time.Second); !strings.Contains(got, "unreachable") {
		t.Errorf("%q without a proxy, want unreachable", got)
	}
}
