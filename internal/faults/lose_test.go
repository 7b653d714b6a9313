package faults_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/faults"
)

// losing returns a proxy that reads commands, and a server behind it that the proxy does not
// affect.
func losing(t *testing.T) (*faults.Proxy, *embedded.Server) {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	p := faults.New(func(ctx context.Context) (net.Conn, error) { return server.Dial(ctx, "", "") })
	p.ReadCommands(func([]byte) {})
	t.Cleanup(p.Close)
	return p, server
}

// dialed connects through the proxy.
func dialed(t *testing.T, dial func(ctx context.Context) (net.Conn, error)) net.Conn {
	t.Helper()
	c, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask sends text and reads want. It returns the error of the connection.
func ask(t *testing.T, c net.Conn, text, want string) error {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err // closed
	}
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != want {
		t.Errorf("%q was answered %q, want %q", text, got, want)
	}
	return nil
}

// command encodes a command as clients send it.
func command(args ...string) string {
	var b strings.Builder
	b.WriteString("*" + strconv.Itoa(len(args)) + "\r\n")
	for _, a := range args {
		b.WriteString("$" + strconv.Itoa(len(a)) + "\r\n" + a + "\r\n")
	}
	return b.String()
}

// The server executes the writes whose answers are lost, and no later command of the connection.
// Reads pass. Without losses, all of them are answered.
func TestLoseReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, server := losing(t)
		direct := dialed(t, func(ctx context.Context) (net.Conn, error) { return server.Dial(ctx, "", "") })
		all := command("GET", "a") + command("SET", "a", "1") + command("SET", "b", "2")
		if err := ask(t, dialed(t, p.Dial), all, "$-1\r\n+OK\r\n+OK\r\n"); err != nil {
			t.Fatalf("without losses: %v", err)
		}
		if err := ask(t, direct, command("DEL", "a", "b"), ":2\r\n"); err != nil {
			t.Fatal(err)
		}

		p.LoseReplies(2)
		c := dialed(t, p.Dial)
		if err := ask(t, c, all, "$-1\r\n"); err != nil {
			t.Errorf("the read before the write: %v", err)
		}
		if err := ask(t, c, "", "+"); err == nil {
			t.Error("the write was answered")
		}
		if err := ask(t, direct, command("MGET", "a", "b"), "*2\r\n$1\r\n1\r\n$-1\r\n"); err != nil {
			t.Error(err)
		}
		if left, lost := p.Losses(); left != 1 || lost != 1 {
			t.Errorf("%d left, %d lost, want 1 and 1", left, lost)
		}
		if err := ask(t, dialed(t, p.Dial), command("SET", "b", "3"), "+OK\r\n"); err == nil {
			t.Error("the second write was answered")
		}
		if err := ask(t, dialed(t, p.Dial), command("SET", "b", "4"), "+OK\r\n"); err != nil {
			t.Errorf("after both losses: %v", err)
		}
	})
}

// The error of a refused write passes, and the next write loses its answer.
func TestLoseRepliesSparesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := losing(t)
		p.LoseReplies(1)
		c := dialed(t, p.Dial)
		if err := ask(t, c, command("EVALSHA", strings.Repeat("0", 40), "0")+command("PING"), "-NOSCRIPT"); err != nil {
			t.Fatal(err)
		}
		rest := make([]byte, 100)
		n, err := c.Read(rest)
		for err == nil && !bytes.Contains(rest[:n], []byte("+PONG\r\n")) {
			var more int
			more, err = c.Read(rest[n:])
			n += more
		}
		if err != nil {
			t.Fatalf("the command behind the refused one: %v", err)
		}
		if err := ask(t, c, command("SET", "a", "1"), "+OK\r\n"); err == nil {
			t.Error("the write after the refused one was answered")
		}
	})
}

// A proxy without a port refuses, and then accepts again.
func TestDialInsideTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := losing(t)
		c := dialed(t, p.Dial)
		if err := ask(t, c, command("PING"), "+PONG\r\n"); err != nil {
			t.Fatal(err)
		}
		p.Refuse()
		p.Reset()
		if err := ask(t, c, command("PING"), "+PONG\r\n"); err == nil {
			t.Error("a reset connection answers")
		}
		if _, err := p.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial while the proxy refuses: %v", err)
		}
		if err := p.Accept(); err != nil {
			t.Fatal(err)
		}
		c = dialed(t, p.Dial)
		if err := ask(t, c, command("PING"), "+PONG\r\n"); err != nil {
			t.Error(err)
		}
		p.Stall()
		if err := ask(t, c, command("PING"), "+PONG\r\n"); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a stalled connection: %v", err)
		}
		p.Resume()
		if err := ask(t, c, "", "+PONG\r\n"); err != nil {
			t.Errorf("the held bytes after Resume: %v", err)
		}
	})
}

// The proxy finds the end of each kind of command and reply, however the bytes are split.
func TestFrames(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"+OK\r\n", "-ERR no\r\n", ":12\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(12\r\n", "PING\r\n",
		"$3\r\na\r\n\r\n", "$0\r\n\r\n", "$-1\r\n", "*-1\r\n", "=7\r\ntxt:a b\r\n", "!3\r\nERR\r\n",
		"*0\r\n", "*2\r\n$1\r\na\r\n:1\r\n", "~1\r\n+a\r\n", ">2\r\n+a\r\n*1\r\n_\r\n",
		"%1\r\n+a\r\n*1\r\n:1\r\n", "|1\r\n+a\r\n+b\r\n:1\r\n", "*2\r\n%1\r\n+a\r\n:1\r\n$2\r\nxy\r\n",
	} {
		for cut := range len(text) {
			if n, err := faults.Frame([]byte(text[:cut])); n != 0 || err != nil {
				t.Errorf("%q: a frame of %d bytes, %v", text[:cut], n, err)
			}
		}
		if n, err := faults.Frame([]byte(text + "+next\r\n")); n != len(text) || err != nil {
			t.Errorf("%q: a frame of %d bytes, %v, want %d", text, n, err, len(text))
		}
	}
	for _, bad := range []string{"$x\r\n", "*99999999999\r\n", "$99999999\r\n"} {
		if _, err := faults.Frame([]byte(bad)); err == nil {
			t.Errorf("%q is no frame", bad)
		}
	}
}
