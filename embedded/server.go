package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const databases = 16

// Server is a running in-process server. Its methods are safe from any goroutine.
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
	expiry   *time.Timer // takes what expires while no command arrives and a near cache waits for the push
	expireAt int64       // when the timer fires; 0 if it is not set
}

// place is a key of one database.
type place struct {
	space int
	key   string
}

// Start starts a server that runs until Close. Ctx bounds the start alone.
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
		return nil, fmt.Errorf("embedded: Options.ScriptTimeout: %v: it must be at least 1 ms", limit)
	}
	s := newServer()
	s.scripts.budget.limit = limit
	if opts.InMemory {
		s.addr = inMemoryAddr
	} else if err := s.listen(ctx, addr); err != nil {
		return nil, err
	}
	if opts.Log != nil {
		opts.Log.InfoContext(ctx, "embedded: server started: in memory, lost at exit, for development", "addr", s.addr)
	}
	return s, nil
}

// inMemoryAddr has the form of an address, for clients that insist on one. Nothing listens there.
const inMemoryAddr = "127.0.0.1:1"

func (s *Server) listen(ctx context.Context, addr string) (err error) {
	if s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", addr); err != nil {
		return fmt.Errorf("embedded: listen on %s: %w", addr, err)
	}
	s.addr = s.listener.Addr().String()
	s.running.Go(s.accept)
	return nil
}

func newServer() *Server {
	s := &Server{clock: newClock(), table: newTable(), conns: map[*conn]struct{}{}, watched: map[place]map[*conn]struct{}{}}
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
			time.Sleep(10 * time.Millisecond) // out of file descriptors, say
			continue
		}
		s.serve(nc)
	}
}

// serve answers a connection until either side closes it.
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

// Dial returns a connection to the server that does not leave the process: no port, no kernel. It
// fits redstart.Config.Dialer, and ignores the network and the address. With Options.InMemory a
// server and its clients can live in a testing/synctest bubble.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("embedded: dial: %w", err)
	}
	ours, theirs := net.Pipe()
	s.serve(ours)
	return theirs, nil
}

// Addr is host:port of the server.
func (s *Server) Addr() string { return s.addr }

// URL is what redstart.Config.URL takes.
func (s *Server) URL() string { return "redis://" + s.addr + "/0" }

// Advance moves the server's clock forward by d, for tests: TTLs that end by then have ended, and
// the pushes about them are on their way, when it returns. A negative d does nothing.
func (s *Server) Advance(d time.Duration) {
	if d <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock.ahead += d
	s.begin()
	s.settle()
}

// Close ends all connections, blocked ones included, and frees the port. What was stored is gone. A
// second call does nothing. The error is always nil.
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

// begin is called before a command: time moves, and what has expired by then goes.
func (s *Server) begin() {
	s.clock.move()
	for _, space := range s.spaces {
		for e := space.due(s.clock.now); e != nil; e = space.due(s.clock.now) {
			space.remove(e)
			s.touched(space, e.key, nil)
		}
	}
}

// settle is called after a command: commands that wait for what it wrote are answered, and pushes
// go out.
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

// arm sets the timer for the next expiry, if a connection is to be notified of it.
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
