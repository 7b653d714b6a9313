package dial_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/dial"
)

// Dial returns a connection or an error for every behaviour of the user's dialer.
func TestPanicOfTheUsersDialerIsAnError(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	for name, test := range map[string]struct {
		user func(ctx context.Context, network, addr string) (net.Conn, error)
		want string
	}{
		"a connection": {func(context.Context, string, string) (net.Conn, error) { return ours, nil }, ""},
		"nothing": {func(context.Context, string, string) (net.Conn, error) { return nil, nil },
			"neither a connection nor an error"},
		"a panic":      {func(context.Context, string, string) (net.Conn, error) { panic("boom") }, "panicked: boom"},
		"panic of nil": {func(context.Context, string, string) (net.Conn, error) { panic(nil) }, "panicked"},
		"arguments": {func(_ context.Context, network, addr string) (net.Conn, error) {
			return nil, &net.AddrError{Err: network, Addr: addr}
		}, "address host:1: unix"},
	} {
		d := dial.Dialer{Network: "unix", User: test.user}
		nc, err := d.Dial(t.Context(), "host:1")
		if test.want == "" && (err != nil || nc != ours || dial.IsTLS(nc)) || test.want != "" &&
			(err == nil || nc != nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, %v, want %q", name, nc, err, test.want)
		}
	}
}
