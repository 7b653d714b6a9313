package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Server is a running in-process server. Its methods are safe from any goroutine.
type Server struct {
	engine *miniredis.Miniredis
	addr   string
	clock  *clock
	peers  peers
	once   sync.Once
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
	engine := miniredis.NewMiniRedis()
	s := &Server{engine: engine, clock: newClock(engine)}
	if err := engine.StartAddr(addr); err != nil {
		return nil, fmt.Errorf("embedded: listen on %s: %w", addr, err)
	}
	s.addr = engine.Addr()
	if err := s.extend(); err != nil {
		engine.Close()
		return nil, err
	}
	if opts.Log != nil {
		opts.Log.InfoContext(ctx, "embedded: server started: in memory, lost at exit, for development", "addr", s.addr)
	}
	return s, nil
}

// URL is what redstart.Config.URL takes.
func (s *Server) URL() string { return "redis://" + s.addr + "/0" }

// Advance moves the server's clock forward by d, for tests: TTLs that end by then
// have ended when it returns. A negative d does nothing.
func (s *Server) Advance(d time.Duration) { s.clock.jump(d) }

// Close ends all connections, blocked ones included, and frees the port. What was
// stored is gone. A second call does nothing. The error is always nil.
func (s *Server) Close() error {
	s.once.Do(s.engine.Close)
	return nil
}
