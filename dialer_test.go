package redstart_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
)

// A fault of a Dialer is an error of Open, within the command timeout.
func TestDialer(t *testing.T) {
	t.Parallel()
	server := rig.Embedded(t)
	refused := errors.New("the tunnel is closed")
	for want, dialer := range map[string]func(context.Context, string, string) (net.Conn, error){
		"the tunnel is closed":         func(context.Context, string, string) (net.Conn, error) { return nil, refused },
		"Config.Dialer panicked: boom": func(context.Context, string, string) (net.Conn, error) { panic("boom") },
		"neither a connection":         func(context.Context, string, string) (net.Conn, error) { return nil, nil },
	} {
		client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Dialer: dialer})
		if !errors.Is(err, redstart.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err == nil {
			client.Close()
		}
	}

	var mu sync.Mutex
	seen := map[string]int{}
	dialer := func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		seen[network+" "+addr]++
		mu.Unlock()
		return server.Dial(ctx, network, addr)
	}
	client, err := redstart.Open(t.Context(), redstart.Config{URL: server.URL(), Dialer: dialer})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Redis(t.Context()); err != nil {
		t.Errorf("Redis: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 1 || seen["tcp "+server.Addr()] < 2 {
		t.Errorf("dialled: %v", seen)
	}
}
