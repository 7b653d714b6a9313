package core_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// The connections of the client library translate a refusal of HELLO into the one text that the
// library accepts, in whatever pieces it arrives, and let all else pass.
func TestLibraryReadsOneRefusalOfHello(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Embedded(t).URL())
	const hello3 = "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
	const hello2 = "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"
	const ping = "*1\r\n$4\r\nPING\r\n"
	const unknown = "-ERR unknown command 'HELLO'\r\n"
	for name, test := range map[string]struct{ first, reply, reads, second string }{
		"NOPROTO":          {hello3, "-NOPROTO no\r\n+OK\r\n", unknown + "+OK\r\n", ping},
		"unknown command":  {hello3, "-ERR unknown command\r\n", unknown, ping},
		"accepted":         {hello3, "%1\r\n+proto\r\n:3\r\n", "%1\r\n+proto\r\n:3\r\n", hello2},
		"another error":    {hello3, "-NOAUTH login\r\n", "-NOAUTH login\r\n", hello2},
		"another command":  {ping, "-NOPROTO no\r\n", "-NOPROTO no\r\n", hello2},
		"an endless error": {hello3, fmt.Sprintf("-NOPROTO %02000d\r\n", 0), fmt.Sprintf("-NOPROTO %02000d\r\n", 0), hello2},
	} {
		for _, piece := range []int{1, 7, 4096} {
			t.Run(fmt.Sprint(name, " in pieces of ", piece), func(t *testing.T) {
				t.Parallel()
				library, server := net.Pipe()
				defer server.Close()
				conn := core.LibraryConn(c, library)
				defer conn.Close()
				for _, end := range []net.Conn{library, server} {
					if err := end.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
						t.Fatal(err)
					}
				}
				write(t, conn, test.first, server, test.first)

				done := make(chan error, 1)
				go func() {
					for rest := test.reply; rest != ""; {
						n := min(piece, len(rest))
						if _, err := io.WriteString(server, rest[:n]); err != nil {
							done <- err
							return
						}
						rest = rest[n:]
					}
					done <- nil
				}()
				got := make([]byte, len(test.reads))
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != test.reads {
					t.Errorf("the library reads %q, %v, want %q", got, err, test.reads)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				write(t, conn, hello2, server, test.second)
				write(t, conn, hello2, server, hello2) // once: later bytes are data of the user
			})
		}
	}
}

// write writes text to a connection, whose other end must read want.
func write(t *testing.T, to net.Conn, text string, from net.Conn, want string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		n, err := io.WriteString(to, text)
		if err == nil && n != len(text) {
			err = fmt.Errorf("%d bytes written", n)
		}
		done <- err
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != want {
		t.Errorf("the server reads %q, %v, want %q", got, err, want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
