package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	timesource "github.com/redstart-go/redstart/internal/clock"
	scriptkeys "github.com/redstart-go/redstart/internal/script"
)

const databases = 16

// Server is a server that runs inside the process. Its methods are safe for concurrent use.
type Server struct {
	listener net.Listener
	addr     string
	once     sync.Once
	running  sync.WaitGroup

	mu       sync.Mutex // one command at a time, as in Redis
	clock    clock
	table    map[string]*command
	spaces   [databases]*keyspace
	conns    map[*conn]struct{}
	closed   bool
	ids      int64
	commands int64
	total    int64 // connections

	scripts  scripts
	channels channels
	tracking tracking
	blocked  blocked
	watched  map[place]map[*conn]struct{}
	expiry   *time.Timer // removes expired keys while no command arrives and a near cache waits for the push
	expireAt int64       // when the timer fires; 0 if it is not set
}

// place is a key of one database.
type place struct {
	space int
	key   string
}

// Start starts a server, which runs until [Server.Close]. The end of ctx ends the start, not the
// server. The error names the invalid field of opts, or the address that is not free.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedded: start: %w", err)
	}
	addr, err := opts.addr()
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(opts.ScriptTimeout, defaultScriptTimeout)
	if limit < time.Millisecond {
		return nil, fmt.Errorf("embedded: Options.ScriptTimeout: %v: the minimum is 1 ms", limit)
	}
	source := timesource.From(ctx)
	if source == nil {
		source = timesource.NewSource()
	}
	s := newServer(source)
	s.scripts.budget.limit = limit
	s.scripts.recorder = scriptkeys.RecorderOf(ctx)
	if opts.InMemory {
		s.addr = inMemoryAddr
	} else if err := s.listen(ctx, addr); err != nil {
		return nil, err
	}
	if opts.Logger != nil {
		opts.Logger.InfoContext(ctx, "embedded: server started: in memory, lost at exit, for development", "addr", s.addr)
	}
	return s, nil
}

// inMemoryAddr has the form of an address, because clients require one. No server listens on it.
const inMemoryAddr = "127.0.0.1:1"

func (s *Server) listen(ctx context.Context, addr string) (err error) {
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
		return fmt.Errorf("embedded: listen on %s: %w", addr, err)
	}
	s.addr = s.listener.Addr().String()
	s.running.Go(s.accept)
	return nil
}

func newServer(source *timesource.Source) *Server {
	s := &Server{clock: newClock(source), table: newTable(), conns: map[*conn]struct{}{}, watched: map[place]map[*conn]struct{}{}}
	for i := range s.spaces {
		s.spaces[i] = newKeyspace(i)
	}
	s.scripts.init(s)
	return s
}

func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // the process may be out of file descriptors
			continue
		}
		s.serve(nc)
	}
}

// serve executes the commands of a connection until one side closes it.
func (s *Server) serve(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return
	}
	s.ids++
	s.total++
	c := newConn(s, nc, s.ids)
	s.conns[c] = struct{}{}
	s.running.Go(c.read)
	s.running.Go(c.write)
}

// Dial returns a connection to the server inside the process, without a port. It has the type of
// redstart.Config.Dialer, and ignores the network and the address. With [Options].InMemory a server
// and its clients can live in a testing/synctest bubble.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedded: dial: %w", err)
	}
	ours, theirs := net.Pipe()
	s.serve(ours)
	return theirs, nil
}

// Addr returns the host:port of the server.
func (s *Server) Addr() string { return s.addr }

// URL returns the URL of the server, for redstart.Config.URL.
func (s *Server) URL() string { return "redis://" + s.addr + "/0" }

// Advance moves the server's clock forward by d, for tests. When it returns, keys whose TTL has
// ended are gone, and their invalidations are sent. A negative d has no effect. Clients keep their
// own time; redstarttest.Server.Advance moves both.
func (s *Server) Advance(d time.Duration) {
	if d <= 0 {
		return
	}
	s.advance(d)
	s.clock.source.Fire() // without the lock: a client that a timer wakes asks the server
}

func (s *Server) advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.source.Add(d)
	s.begin()
	s.expireAt = 0 // the timer was set for the time before the move
	s.settle()
}

// Close ends all connections, including the blocked ones, and frees the port. All data is lost. A
// second call has no effect. The error is always nil.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.scripts.budget.close() // a script that runs has the lock
		s.mu.Lock()
		s.closed = true
		for c := range s.conns {
			c.close()
			s.blocked.remove(c.waits)
		}
		if s.expiry != nil {
			s.expiry.Stop()
		}
		s.mu.Unlock()
		if s.listener != nil {
			s.listener.Close()
		}
		s.running.Wait()
	})
	return nil
}

// begin runs before a command. It advances the time and removes expired keys.
func (s *Server) begin() {
	s.clock.move()
	for _, space := range s.spaces {
		for e := space.due(s.clock.now); e != nil; e = space.due(s.clock.now) {
			space.remove(e)
			s.touched(space, e.key, nil)
		}
	}
}

// settle runs after a command. It serves blocked commands whose keys have changed, and sends the
// pushes.
func (s *Server) settle() {
	s.blocked.serve()
	s.tracking.deliver()
	s.arm()
}

// touched records that a connection, or nil for an expiry, has changed a key.
func (s *Server) touched(space *keyspace, key string, by *conn) {
	s.tracking.invalidate(key, by)
	s.blocked.wake(place{space.number, key})
	for c := range s.watched[place{space.number, key}] {
		c.transaction.spoiled = true
	}
}

const minExpiryPause = 5 * time.Millisecond

// arm sets the timer for the next expiry, if a connection must receive its push.
func (s *Server) arm() {
	if len(s.tracking.readers) == 0 && len(s.tracking.broadcast) == 0 && len(s.blocked.waiting) == 0 {
		return
	}
	next := int64(0)
	for _, space := range s.spaces {
		if len(space.expiring) > 0 && (next == 0 || space.expiring[0].at < next) {
			next = space.expiring[0].at
		}
	}
	if next == 0 || s.expireAt != 0 && s.expireAt <= next || s.closed {
		return
	}
	wait := max(s.clock.until(next), minExpiryPause)
	s.expireAt = next
	if s.expiry == nil {
		s.expiry = time.AfterFunc(wait, s.expireDue)
		return
	}
	s.expiry.Reset(wait)
}

func (s *Server) expireDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.expireAt = 0
	s.begin()
	s.settle()
}
