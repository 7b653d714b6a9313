package dial_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/dial"
)

// pair returns a connection of d to a peer. Its reads may try again.
func pair(t *testing.T, d dial.Dialer, server *tls.Config) (nc, peer net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if d.Network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(d.Network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		if server != nil {
			conn := tls.Server(nc, server)
			if err := conn.Handshake(); err != nil {
				t.Error(err)
			}
			nc = conn
		}
		accepted <- nc
	}()
	nc, err = d.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer = <-accepted
	t.Cleanup(func() { _, _ = nc.Close(), peer.Close() })
	dial.ReadBusily(nc, true)
	return nc, peer
}

// each runs a test with a connection of each kind, whose reads may try again.
func each(t *testing.T, test func(t *testing.T, nc, peer net.Conn)) {
	https := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(https.Close)
	client := https.Client().Transport.(*http.Transport).TLSClientConfig
	for name, d := range map[string]dial.Dialer{
		"tcp": {Network: "tcp"}, "unix": {Network: "unix"}, "tls": {Network: "tcp", TLS: client},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var server *tls.Config
			if d.TLS != nil {
				server = &tls.Config{Certificates: https.TLS.Certificates}
			}
			nc, peer := pair(t, d, server)
			test(t, nc, peer)
		})
	}
}

// send writes to a peer, which may block, and reports errors.
func send(t *testing.T, to net.Conn, p []byte) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		if _, err := to.Write(p); err != nil {
			t.Error(err)
		}
	}()
	return done
}

func TestBusyReadsReturnAllBytes(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, nc, peer net.Conn) {
		for _, size := range []int{1, 300, 64 << 10, 3 << 20} {
			want := make([]byte, size)
			if _, err := rand.Read(want); err != nil {
				t.Fatal(err)
			}
			done := send(t, peer, want)
			got := make([]byte, size)
			if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes: %v, equal: %v", size, err, bytes.Equal(got, want))
			}
			<-done
		}
		if err := peer.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if n, err := nc.Read(make([]byte, 10)); n != 0 || err != io.EOF {
				t.Errorf("after the peer had closed: %d, %v, want EOF", n, err)
			}
		}
		if dial.Tried(nc) == 0 {
			t.Error("no read tried again")
		}
	})
}

// A deadline interrupts a read at each moment: while it tries again, and while it waits. No byte is
// lost. Close ends a read.
func TestBusyReadsAreInterrupted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, nc, peer net.Conn) {
		result := make(chan error)
		read := func() {
			_, err := nc.Read(make([]byte, 1))
			result <- err
		}
		for i := range 200 {
			go read()
			if err := nc.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			err := <-result
			if op, ok := errors.AsType[*net.OpError](err); !errors.Is(err, os.ErrDeadlineExceeded) || !ok || op.Op != "read" {
				t.Fatalf("an interrupted read returned %v", err)
			}
			if err := nc.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			<-send(t, peer, []byte{byte(i)})
			p := make([]byte, 1)
			if _, err := nc.Read(p); err != nil || p[0] != byte(i) {
				t.Fatalf("the next read returned %v, %v, want %d", p, err, byte(i))
			}
		}
		go read()
		if err := nc.Close(); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read of a closed connection returned %v", err)
		}
	})
}

// A reset is the same error as without busy reads.
func TestBusyReadsReturnAReset(t *testing.T) {
	t.Parallel()
	var texts [2]string
	for i, busy := range []bool{false, true} {
		nc, peer := pair(t, dial.Dialer{Network: "tcp"}, nil)
		dial.ReadBusily(nc, busy)
		if err := errors.Join(peer.(*net.TCPConn).SetLinger(0), peer.Close()); err != nil {
			t.Fatal(err)
		}
		_, err := nc.Read(make([]byte, 1))
		op, ok := errors.AsType[*net.OpError](err)
		if !ok || !errors.Is(err, syscall.ECONNRESET) || op.Addr.String() != nc.RemoteAddr().String() {
			t.Fatalf("busy: %v: %v", busy, err)
		}
		texts[i] = op.Op + op.Net + op.Err.Error()
	}
	if texts[0] != texts[1] {
		t.Errorf("%q, without busy reads %q", texts[1], texts[0])
	}
}

// The peer answers later than a read tries again. So reads soon cease to try, and seldom begin
// again. When the peer becomes fast, reads try again. The control is a fast peer.
func TestBusyReadsOfADistantPeerStop(t *testing.T) {
	t.Parallel()
	nc, peer := pair(t, dial.Dialer{Network: "tcp"}, nil)
	var distant atomic.Bool
	go func() {
		p := make([]byte, 1)
		for {
			if _, err := io.ReadFull(peer, p); err != nil {
				return
			}
			if distant.Load() {
				<-time.After(time.Millisecond)
			}
			if _, err := peer.Write(p); err != nil {
				return
			}
		}
	}()
	tried := func(reads int) int64 {
		before := dial.Tried(nc)
		for range reads {
			if _, err := nc.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		return dial.Tried(nc) - before
	}

	distant.Store(true)
	// 1 + 3 + 7 + … reads are skipped after the failures, and more if other processes are busy
	if n := tried(1000); n < 1 || n > 10 {
		t.Errorf("%d of 1,000 reads of a distant peer tried again, want at most 10", n)
	}
	dial.ReadBusily(nc, false)
	if n := tried(10); n != 0 {
		t.Errorf("%d reads without permission tried again", n)
	}
	dial.ReadBusily(nc, true)

	distant.Store(false)
	const most = dial.MaxSkipped + 100
	// the peer is another goroutine, so some of its answers are late on a busy machine
	for reads := 0; tried(64) == 0; reads += 64 {
		if reads > most {
			t.Fatalf("no read tried again after %d answers", reads)
		}
	}
}

// embedded is a user's connection with a Read of its own.
type embedded struct {
	*net.TCPConn
	reads *atomic.Int64
}

func (c embedded) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.TCPConn.Read(p)
}

// The Read of a user's connection is not bypassed. A plain connection of the user's dialer reads
// busily.
func TestBusyReadsDoNotBypassTheUsersConnection(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	plain := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	for name, test := range map[string]struct {
		user  func(ctx context.Context, network, addr string) (net.Conn, error)
		reads int64
	}{
		"plain": {plain, 0},
		"embedded": {func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := plain(ctx, network, addr)
			return embedded{nc.(*net.TCPConn), &reads}, err
		}, 1},
	} {
		nc, peer := pair(t, dial.Dialer{Network: "tcp", User: test.user}, nil)
		<-send(t, peer, []byte{1})
		reads.Store(0)
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if n := reads.Load(); n != test.reads || dial.Tried(nc) != 1-test.reads {
			t.Errorf("%s: %d reads of the user's connection, %d tried again", name, n, dial.Tried(nc))
		}
	}
}
