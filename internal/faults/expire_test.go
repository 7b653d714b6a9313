package faults_test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/internal/faults"
)

// A login restarts the lifetime of a connection. A login in two pieces counts, and other commands
// do not.
func TestExpiringEndsOldLogins(t *testing.T) {
	t.Parallel()
	const login = "*3\r\n$4\r\nauth\r\n$3\r\nada\r\n$6\r\nsecret\r\n"
	const hello = "*5\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$3\r\nada\r\n$6\r\nsecret\r\n"
	const plain = "*2\r\n$3\r\nGET\r\n$4\r\nAUTH\r\n"
	for name, test := range map[string]struct {
		pieces []string
		lives  time.Duration
	}{
		"AUTH":               {[]string{login[:20], login[20:]}, 9 * time.Minute},
		"HELLO with AUTH":    {[]string{hello}, 9 * time.Minute},
		"HELLO without AUTH": {[]string{"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"}, 5 * time.Minute},
		"other commands":     {[]string{plain, plain}, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { // virtual time
				client, server := net.Pipe()
				ended := atomic.Int64{}
				began := time.Now()
				nc := faults.Expiring(client, 5*time.Minute, func() { ended.Add(1) })
				defer nc.Close()
				go func() {
					time.Sleep(4 * time.Minute)
					for _, piece := range test.pieces {
						if _, err := nc.Write([]byte(piece)); err != nil {
							t.Error(err)
						}
					}
				}()

				if _, err := io.Copy(io.Discard, server); err != nil { // returns when the connection has ended
					t.Error(err)
				}
				if lived := time.Since(began); lived != test.lives || ended.Load() != 1 {
					t.Errorf("it ended %d times, after %v, want %v", ended.Load(), lived, test.lives)
				}
			})
		})
	}
}
