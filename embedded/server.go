// Package embedded is an in-process server for first runs and examples.
package embedded

import (
	"context"

	"github.com/alicebob/miniredis/v2"
)

// Options configure Start.
type Options struct {
	Addr string
}

// Server is a running in-process server.
type Server struct{ m *miniredis.Miniredis }

// Start starts a server on a loopback port.
func Start(ctx context.Context, opts Options) (*Server, error) {
	m := miniredis.NewMiniRedis()
	addr := opts.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if err := m.StartAddr(addr); err != nil {
		return nil, err
	}
	return &Server{m: m}, nil
}

// URL is what redstart.Config.URL takes.
func (s *Server) URL() string { return "redis://" + s.m.Addr() + "/0" }

// Close ends the server.
func (s *Server) Close() error { s.m.Close(); return nil }
