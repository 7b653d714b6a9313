package faults_test

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

// A connection ends after the lifetime of its last login. A login in two pieces counts, and other
// commands do not.
func TestExpiringEndsOldLogins(t *testing.T) {
	t.Parallel()
	const lifetime = 300 * time.Millisecond
	const login = "*3\r\n$4\r\nauth\r\n$3\r\nada\r\n$6\r\nsecret\r\n"
	const hello = "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nada\r\n$6\r\nsecret\r\n"
	const plain = "*2\r\n$3\r\nGET\r\n$4\r\nAUTH\r\n"
	for name, test := range map[string]struct {
		pieces []string
		lives  bool // longer than a connection without a login
	}{
		"AUTH":               {[]string{login[:20], login[20:]}, true},
		"HELLO with AUTH":    {[]string{hello}, true},
		"HELLO without AUTH": {[]string{"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"}, false},
		"other commands":     {[]string{plain, plain}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := atomic.Int64{}
			open := func(pieces []string) (end <-chan struct{}) {
				client, server := net.Pipe()
				nc := faults.Expiring(client, lifetime, func() { ended.Add(1) })
				closed := make(chan struct{})
				go func() {
					defer close(closed)
					for buf := make([]byte, 256); ; {
						if _, err := server.Read(buf); err != nil {
							return
						}
					}
				}()
				t.Cleanup(func() { _ = nc.Close(); <-closed })
				go func() {
					<-time.After(lifetime / 2)
					for _, piece := range pieces {
						_, _ = nc.Write([]byte(piece)) // fails if the connection has ended
					}
				}()
				return closed
			}
			without, with := open(nil), open(test.pieces)
			<-without
			select {
			case <-with:
				if test.lives {
					t.Error("the login did not count")
				}
			case <-time.After(lifetime / 4):
				if !test.lives {
					t.Error("the connection lives on")
				}
			}
			<-with
			if ended.Load() != 2 {
				t.Errorf("%d connections expired, want 2", ended.Load())
			}
		})
	}
}
