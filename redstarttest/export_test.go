package redstarttest

import "testing"

// On returns the server with another receiver of failures.
func (s *Server) On(t testing.TB) *Server {
	return &Server{t: t, cfg: s.cfg, proxy: s.proxy, bubble: s.bubble, engine: s.engine, source: s.source, upstream: s.upstream}
}
