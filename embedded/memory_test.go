package embedded_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
)

// A client may write a long pipeline before it reads, on a connection without a buffer.
func TestLongPipelineOnAnInMemoryConnection(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	conn, err := s.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const commands = 20_000
	for range commands {
		if _, err := io.WriteString(conn, "*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	answers := make([]byte, commands*len("$5\r\nhello\r\n"))
	if _, err := io.ReadFull(conn, answers); err != nil {
		t.Fatal(err)
	}
}

// The connection of a client that does not read is closed before its replies fill the memory.
func TestUnreadRepliesAreBounded(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	conn, err := s.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 1<<20)
	fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%s\r\n", len(value), value)
	for range 1000 {
		if _, err = io.WriteString(conn, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"); err != nil {
			return
		}
	}
	t.Error("a gigabyte of answers waits for a client that does not read")
}

// A client and its server live in a bubble, whose time advances when all goroutines wait.
func TestServerInASynctestBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, err := embedded.Start(t.Context(), embedded.Options{InMemory: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		client, err := rueidis.NewClient(rueidis.ClientOption{
			InitAddress: []string{s.Addr()}, DisableCache: true, ForceSingleClient: true,
			DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
				return s.Dial(ctx, "tcp", addr)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		do(t, client, "SET", "k", "v", "EX", "3600")
		start := time.Now()
		if got := do(t, client, "BLPOP", "list", "5"); got != nil {
			t.Errorf("BLPOP = %v", got)
		}
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("BLPOP waited %v of 5s", waited)
		}
		time.Sleep(time.Hour)
		if got := do(t, client, "GET", "k"); got != nil {
			t.Errorf("after its hour the key holds %v", got)
		}
	})
}
