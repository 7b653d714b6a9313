package core_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// blockShared occupies the shared connection with a command that blocks on the server, until the
// returned function ends it.
func blockShared(t *testing.T, server *rig.Server, c *core.Core) (release func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), core.Write("BLPOP", "list", "0"))
		done <- err
	}()
	rig.Eventually(t, 10*time.Second, "the command blocks", func() bool { return server.Info("blocked_clients") == "1" })
	return func() {
		if _, err := server.Do("RPUSH", "list", "x"); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// While a long reply is read, short reads and pipelines of reads borrow free connections of the
// pool. A command that blocks the shared connection does not delay them. The control is a write,
// which keeps its place behind this command (A3).
func TestShortReadsBorrowConnectionsNextToALongReply(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	c := open(t, server.URL(), timeout(10*time.Second))
	free, err := core.TakeLong(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	opened := core.Connections(c)
	if err := get(t.Context(), c, "k"); err != nil { // opens a connection for later reads
		t.Fatal(err)
	}
	rig.Eventually(t, 10*time.Second, "a connection is opened", func() bool { return core.FreeLong(c) == 1 })
	if n := core.Connections(c) - opened; n != 1 {
		t.Errorf("a short read opened %d connections, want 1", n)
	}

	release := blockShared(t, server, c)
	if err := get(t.Context(), c, "k"); err != nil {
		t.Error(err)
	}
	for _, r := range c.DoMulti(t.Context(), core.Read("GET", "k"), core.Read("GET", "k")) {
		if _, err := r.Get(); err != nil {
			t.Error(err)
		}
	}
	sent := server.CommandStats()["set"]
	write, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Do(write, core.Write("SET", "k", "v")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write overtook a command that was sent before it: %v", err)
	}
	pipeline, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	results := c.DoMulti(pipeline, core.Read("GET", "k"), core.Write("SET", "k", "v"))
	if _, err := results[0].Get(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a pipeline with a write overtook a command that was sent before it: %v", err)
	}
	if n := server.CommandStats()["set"]; n != sent {
		t.Errorf("the server executed %d writes, want none", n-sent)
	}
	release()
}

// All connections for long replies are in use. A short read never waits for one of them: it takes
// the shared connection, and opens no other.
func TestShortReadsNeverWaitForAConnectionOfThePool(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(5*time.Second))
	release := holdAll(t, c)
	opened := core.Connections(c)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 20 {
		if err := get(ctx, c, "k"); err != nil {
			t.Fatal(err)
		}
	}
	if n := core.Connections(c); n != opened {
		t.Errorf("%d connections, want %d", n, opened)
	}
	releaseAll(release)

	// without a long reply, short reads do not borrow
	for range 20 {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
	}
	if n := core.Connections(c); n != opened {
		t.Errorf("%d connections after the long replies, want %d", n, opened)
	}
}

// Short reads wait behind long replies if they take much longer than others did. A network on which
// all of them take long is no reason to read fewer long replies.
func TestShortReadsWaitBehindLongReplies(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for _, test := range []struct {
		name string
		took []time.Duration
		wait bool
	}{
		{"next to no long replies", []time.Duration{40 * us, 60 * us, 50 * us}, false},
		{"behind long replies", []time.Duration{40 * us, 900 * us}, true},
		{"two of five behind long replies", []time.Duration{40 * us, 60 * us, 900 * us, 50 * us, 900 * us}, true},
		{"one of four behind a long reply", []time.Duration{40 * us, 60 * us, 900 * us, 50 * us}, false},
		{"on a network", []time.Duration{40 * ms, 60 * ms, 41 * ms}, false},
		{"on a network, behind long replies", []time.Duration{ms, 20 * ms}, true},
	} {
		if got := core.ShortReadsWait(slices.Repeat(test.took, 200)...); got != test.wait {
			t.Errorf("%s: wait is %v", test.name, got)
		}
	}
	if core.ShortReadsWait(append(slices.Repeat([]time.Duration{40 * us}, 1000), slices.Repeat([]time.Duration{900 * us}, 10)...)...) {
		t.Error("ten slow reads in a row are taken for long replies")
	}
	over := append(slices.Repeat([]time.Duration{40 * us, 900 * us}, 1000), slices.Repeat([]time.Duration{40 * us}, 40)...)
	if core.ShortReadsWait(over...) {
		t.Error("short reads wait after 40 that were not slow")
	}
	slower := append([]time.Duration{100 * us}, slices.Repeat([]time.Duration{5 * ms}, 5000)...)
	if core.ShortReadsWait(slower...) {
		t.Error("a network that became slower is taken for long replies after 5,000 reads")
	}
}

// While short reads wait behind long replies, the client reads few long replies at once. Further
// calls wait, and get connections when the short reads no longer wait.
func TestFewLongRepliesWhileShortReadsWait(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(time.Minute))
	core.LimitLong(c, true)
	var release []func()
	for range core.FewLong {
		free, err := core.TakeLong(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		release = append(release, free)
	}
	const further = core.MaxLines - core.FewLong
	took := make(chan func(), further)
	for range further {
		go func() {
			free, err := core.TakeLong(t.Context(), c)
			if err != nil {
				t.Error(err)
			}
			took <- free
		}()
	}
	rig.Eventually(t, 10*time.Second, "the further calls wait", func() bool { return core.WaitingForLong(c) == further })

	release[0]() // one leaves, and the next one comes
	release[0] = <-took
	if n := core.WaitingForLong(c); n != further-1 {
		t.Errorf("%d calls wait, want %d", n, further-1)
	}
	core.LimitLong(c, false)
	release[0]()
	release = release[1:]
	for range further - 1 {
		release = append(release, <-took)
	}
	releaseAll(release)
}

// A call that comes when the short reads no longer wait does not overtake the calls that waited.
func TestCallsGetConnectionsForLongRepliesInOrder(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(time.Minute))
	core.LimitLong(c, true)
	var release []func()
	take := func() {
		free, err := core.TakeLong(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		release = append(release, free)
	}
	for range core.FewLong {
		take()
	}
	first := make(chan func(), 1)
	go func() {
		free, err := core.TakeLong(t.Context(), c)
		if err != nil {
			t.Error(err)
		}
		first <- free
	}()
	rig.Eventually(t, 10*time.Second, "a call waits", func() bool { return core.WaitingForLong(c) == 1 })
	core.LimitLong(c, false)
	take()
	if n := core.WaitingForLong(c); n != 0 {
		t.Errorf("%d calls wait after a later one got a connection", n)
	}
	releaseAll(release)
	(<-first)()
}

// The times of borrowed reads decide whether the client reads few long replies at once.
func TestBorrowedReadsAreTimed(t *testing.T) {
	t.Parallel()
	c := open(t, rig.Shared(t).URL(), timeout(time.Minute))
	free, err := core.TakeLong(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	read := func() {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
	}
	read() // connects a line for the others
	rig.Eventually(t, 10*time.Second, "a connection is opened", func() bool { return core.FreeLong(c) > 0 })
	for best, waited := range map[time.Duration]bool{time.Hour: false, time.Nanosecond: true} {
		core.SetBestShortRead(c, best)
		for range 20 {
			read()
		}
		if got := core.ShortReadsWaited(c); got != waited {
			t.Errorf("next to a best time of %v, the reads waited: %v", best, got)
		}
	}
}

// partsConn gets a long string of the server at once and delivers it in parts, without waiting.
// between counts the reads before which no other goroutine ran.
type partsConn struct {
	net.Conn
	ran, between *atomic.Int64
	last         int64
	rest         []byte
}

func (c *partsConn) Read(p []byte) (int, error) {
	const part = 64 << 10
	if len(c.rest) == 0 {
		if len(p) < 2*part {
			return c.Conn.Read(p)
		}
		c.rest = make([]byte, len(p))
		n := 0
		for n < len(p) {
			m, err := c.Conn.Read(c.rest[n:])
			if err != nil {
				return 0, err
			}
			n += m
		}
		c.last = -1
	}
	if ran := c.ran.Load(); ran == c.last {
		c.between.Add(1)
	}
	c.last = c.ran.Load()
	n := copy(p[:min(part, len(p))], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// The reader of a long string lets other goroutines run between its reads, until the last 128 KiB.
func TestTheReaderOfALongReplyYields(t *testing.T) {
	// not parallel: with one processor, a goroutine runs only when another yields or waits
	var ran, between atomic.Int64
	const size = 1 << 20
	c := open(t, rig.Shared(t).URL(), timeout(time.Minute), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &partsConn{Conn: nc, ran: &ran, between: &between}, err
		}
	})
	key := rig.Prefix(t) + ":long"
	if _, err := c.Do(t.Context(), core.Write("SET", key, strings.Repeat("x", size))); err != nil {
		t.Fatal(err)
	}

	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				ran.Add(1)
				runtime.Gosched()
			}
		}
	}()
	reply, err := c.Do(t.Context(), core.Read("GET", key))
	close(stop)
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	if text, err := reply.ToString(); err != nil || len(text) != size {
		t.Fatalf("the reply has %d bytes, %v", len(text), err)
	}
	if n := between.Load(); n > 2 {
		t.Errorf("no other goroutine ran before %d of %d reads of a long string", n, size/(64<<10))
	}
}

// A server that refuses further connections is not asked for one by each short read next to a long
// reply. The reads use the shared connection.
func TestRefusedConnectionsForReadsAreNotTriedAgainAtOnce(t *testing.T) {
	t.Parallel()
	var refuse atomic.Bool
	var dials atomic.Int64
	c := open(t, rig.Shared(t).URL(), timeout(10*time.Second), func(o *core.Options) {
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if refuse.Load() {
				dials.Add(1)
				return nil, errors.New("refused")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	free, err := core.TakeLong(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	refuse.Store(true)
	rig.Eventually(t, 30*time.Second, "a connection is refused", func() bool {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Error(err)
		}
		return dials.Load() > 0
	})

	watch, refused := rig.Watch(t), dials.Load()
	const reads = 20_000
	for range reads {
		if err := get(t.Context(), c, "k"); err != nil {
			t.Fatal(err)
		}
	}
	// one attempt of each line at a time, and then a pause
	most := core.MaxLines * (1 + int64(watch.Took()/core.BorrowPause))
	if n := dials.Load() - refused; n > most {
		t.Errorf("%d reads tried %d further connections, want at most %d", reads, n, most)
	}
}
