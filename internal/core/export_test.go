package core

import (
	"context"
	"net"
	"time"
)

// Connections returns the number of open connections.
func Connections(c *Core) int { return len(c.conns.list()) }

// DoOnce is Do without redirections.
func (c *Core) DoOnce(ctx context.Context, cmd Command) (Reply, error) {
	r := c.request(cmd)
	r.hops = maxHops
	if err := c.begin(ctx, c.due()); err != nil {
		return Reply{}, err
	}
	return c.do(ctx, ordinary, &r, c.due())
}

// Awake reports whether the clock of calls is running.
func Awake(c *Core) bool { return !c.clock.Asleep() }

// MaxLines is the greatest number of connections for long replies to one node.
const MaxLines = maxLines

// CloseIdle closes the unused connections for long replies, as after a long idle time.
func CloseIdle(c *Core) {
	for _, n := range c.allNodes() {
		for k := range n.pools {
			n.pools[k].trim(c.clock.Exact() + lineIdle)
		}
	}
}

// AskTopology stands for a question to the cluster. The returned function adopts an answer. In this
// answer, the last address owns slot 0, and the first address owns all other slots.
func AskTopology(c *Core) (adopt func(addrs ...string)) {
	question := c.topology.questions.Add(1)
	return func(addrs ...string) {
		ranges := make([]slotRange, len(addrs))
		for i, addr := range addrs {
			ranges[i] = slotRange{addr: addr}
		}
		ranges[0].to = slots - 1
		c.adoptSlots(ranges, question)
	}
}

// NodeAt looks up the node with an address, as a redirected call does.
func NodeAt(c *Core, addr string) { c.nodeAt(addr) }

// ConnectTo connects to the node with an address.
func ConnectTo(ctx context.Context, c *Core, addr string) error {
	_, err := c.ask(ctx, c.nodeAt(addr), "PING")
	return err
}

// ConnectionTo returns a value that identifies the open connection to a node, or nil.
func ConnectionTo(c *Core, addr string) any {
	if conn := c.nodeAt(addr).lines[ordinary].conn.Load(); conn != nil {
		return conn
	}
	return nil
}

// TakeLong takes a connection for long replies, as a call does, until release.
func TakeLong(ctx context.Context, c *Core) (release func(), err error) {
	l, err := c.line(ctx, c.topology.single, ordinary+large, true, c.due())
	return func() { l.release() }, err
}

// WaitingForLong returns how many calls wait for a connection for long replies.
func WaitingForLong(c *Core) int {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// KnownLong reports whether a key is known to have a long value.
func KnownLong(c *Core, key string) bool {
	r := c.request(Read("GET", key))
	return c.large.has(c.large.sum(&r))
}

// LongReads returns how many calls read long replies, by the count of the pool or of the client.
func LongReads(c *Core) int {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.long, int(c.reading.Load()))
}

// FreeLong returns how many connected lines for long replies no call uses.
func FreeLong(c *Core) (n int) {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.free {
		if l.conn.Load() != nil {
			n++
		}
	}
	return n
}

// OpenBlocking begins to open the client for blocking reads. end closes it, and then ends the
// attempt.
func OpenBlocking(c *Core) (end func() error) {
	f := c.blocking
	f.mu.Lock()
	defer f.mu.Unlock()
	opening := make(chan struct{})
	f.opening = opening
	return func() error {
		defer close(opening)
		return f.close(time.Second)
	}
}

// FewLong is the number of long replies at once while short reads wait behind them.
const FewLong = fewLong

// ShortReadsWait reports whether short reads that took these times, hours apart, wait behind long
// replies.
func ShortReadsWait(took ...time.Duration) bool {
	var s shortReads
	var now time.Duration
	for _, d := range took {
		now += time.Hour
		s.took(d, now)
	}
	return s.wait(now)
}

// SetBestShortRead replaces the times of the short reads so far by one.
func SetBestShortRead(c *Core, best time.Duration) {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shorts = shortReads{best: best}
}

// ShortReadsWaited reports whether a short read has waited since SetBestShortRead.
func ShortReadsWaited(c *Core) bool {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shorts.until > 0
}

// LimitLong makes short reads wait, or not, for the rest of the test.
func LimitLong(c *Core, wait bool) {
	p := &c.topology.single.pools[ordinary]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shorts.until = 0
	if wait {
		p.shorts.until = forever
	}
}

// ClockAsleep reports whether the clock sleeps.
func ClockAsleep(c *Core) bool { return c.clock.Asleep() }

// SendLate makes a read on the connection to the server. stop runs right before it sends. SendLate
// reports whether the deadline ended the call.
func SendLate(ctx context.Context, c *Core, stop func()) (ended bool, err error) {
	conn := c.topology.single.lines[ordinary].conn.Load()
	k := c.newCall(ctx, c.due(), c.clock.Now())
	stop()
	if err := conn.send(k, []request{c.request(Read("GET", "k"))}); err != nil {
		return false, err
	}
	conn.wait(k)
	return k.abandoned, k.err
}

// RefreshTopology requests a refresh of the slots.
func RefreshTopology(c *Core) { c.requestTopology() }

// SendAfter sends a read on the connection to a node, after fn has run. It reports whether the read
// is sent again after an error.
func SendAfter(ctx context.Context, c *Core, addr string, fn func()) (again bool, err error) {
	conn := c.nodeAt(addr).lines[ordinary].conn.Load()
	fn()
	r := c.request(Read("GET", "k"))
	if err = conn.send(c.newCall(ctx, c.due(), c.clock.Now()), []request{r}); err != nil {
		err = c.unsent(&r, err)
		_, again = c.retry(&r, err, c.due())
	}
	return again, err
}

// LibraryConn returns a connection as the client library gets it.
func LibraryConn(c *Core, nc net.Conn) net.Conn {
	return &foreignConn{Conn: nc, client: c.blocking}
}

// Lent returns the number of connections of the client library whose logins the Core renews.
func Lent(c *Core) int {
	c.blocking.mu.Lock()
	defer c.blocking.mu.Unlock()
	return len(c.blocking.lent)
}

// AnswerWithin sets the time limit of one call of Options.Credentials, before the first call.
func AnswerWithin(c *Core, limit time.Duration) { c.credentials.within = limit }

// Login returns the error of a question for credentials.
func Login(ctx context.Context, c *Core) error {
	_, err := c.login(ctx)
	return err
}

// BorrowPause is the time without new connections for reads after a failed attempt.
const BorrowPause = borrowPause
