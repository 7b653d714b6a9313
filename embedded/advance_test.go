package embedded_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
)

// A key that expires after Advance is pushed when it expires: the timer of the next expiry follows
// the move. A key with the same rest, without a move, is the control.
func TestAdvanceMovesTheNextExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pushedAfter := func(ttl string, advance time.Duration) time.Duration {
			server, err := embedded.Start(t.Context(), embedded.Options{InMemory: true})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			pushed := make(chan struct{}, 1)
			client, err := rueidis.NewClient(rueidis.ClientOption{
				Dialer:      net.Dialer{KeepAlive: time.Hour}, // a PING also expires keys
				InitAddress: []string{server.Addr()}, PipelineMultiplex: -1, ClientTrackingOptions: []string{"OPTOUT"},
				DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
					return server.Dial(ctx, "tcp", addr)
				},
				OnInvalidations: func(messages []rueidis.RedisMessage) {
					if messages != nil { // nil reports the end of the connection
						pushed <- struct{}{}
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			do(t, client, "SET", "k", "v", "EX", ttl)
			do(t, client, "GET", "k")
			server.Advance(advance)
			began := time.Now()
			<-pushed
			return time.Since(began)
		}
		control, moved := pushedAfter("10", 0), pushedAfter("60", 50*time.Second)
		if d := moved - control; d.Abs() > 10*time.Millisecond {
			t.Errorf("the expiry was pushed %v after the move, and %v without a move", moved, control)
		}
	})
}
