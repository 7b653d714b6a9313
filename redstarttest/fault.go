package redstarttest

import "time"

// Break resets all connections and refuses new ones, like a server that is gone, until
// [Server.Heal]. Calls fail with redstart.ErrUnavailable, and writes in flight with
// redstart.ErrIndeterminate.
func (s *Server) Break() {
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
	s.proxy.Refuse()
	s.proxy.Reset()
}

// Heal ends [Server.Break]. It waits until the clients of [Server.Client] reach the server again.
// Clients that your code has opened reach it within a second.
func (s *Server) Heal() {
	s.t.Helper()
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if !broken {
		s.t.Fatal("redstarttest: heal: the server is not broken: call Break before")
	}
	s.restore()
	s.reach("heal")
}

// Hang makes the server silent: connections stay open and new ones are accepted, but no byte passes
// until [Server.Resume]. A call ends with its deadline, or with CommandTimeout, 5 s by default. Set
// a shorter one in [Start].
func (s *Server) Hang() {
	s.mu.Lock()
	s.silent = true
	s.mu.Unlock()
	s.proxy.Stall()
}

// Resume ends [Server.Hang]. The held bytes pass: the server executes commands whose callers have
// left, as a real server does. Resume waits until the clients of [Server.Client] reach the server
// again.
func (s *Server) Resume() {
	s.t.Helper()
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	if !silent {
		s.t.Fatal("redstarttest: resume: the server does not hang: call Hang before")
	}
	s.restore()
	s.reach("resume")
}

// Delay delays each answer of the server by d. Order and throughput stay. 0 ends the delay.
func (s *Server) Delay(d time.Duration) {
	s.t.Helper()
	if d < 0 {
		s.t.Fatalf("redstarttest: delay: %v is negative: pass 0 to end the delay", d)
	}
	s.proxy.Delay(d)
}

// LoseReplies makes the server execute the next n writes and lose their answers: the connection is
// reset before the answer passes. Such a call fails with redstart.ErrIndeterminate. A script counts
// as a write, and most calls of the patterns are scripts. So do the calls that a client makes in
// the background, such as renewals. 0 ends the losses.
//
// If fewer than n writes have come at the end of the test, the test fails, because it has not
// tested the loss.
func (s *Server) LoseReplies(n int) {
	s.t.Helper()
	if n < 0 {
		s.t.Fatalf("redstarttest: lose replies: %d is negative: pass the number of writes whose answers are lost", n)
	}
	s.proxy.LoseReplies(n)
}

// restore ends Break and Hang.
func (s *Server) restore() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent {
		s.proxy.Resume()
		s.silent = false
	}
	if s.broken {
		if err := s.proxy.Accept(); err != nil {
			s.t.Errorf("redstarttest: heal: %v", err)
		}
		s.broken = false
	}
}

// reach waits until each client has an answer of the server.
func (s *Server) reach(operation string) {
	s.t.Helper()
	ctx, cancel := s.within()
	defer cancel()
	for _, c := range s.cores() {
		var looks pauses
		err := c.Ping(ctx)
		for ; err != nil && ctx.Err() == nil; err = c.Ping(ctx) {
			looks.wait(ctx)
		}
		if err != nil {
			s.t.Fatalf("redstarttest: %s: a client does not reach the server: %v", operation, err)
		}
	}
}

// unused reports losses that no write has used.
func (s *Server) unused() {
	if left, lost := s.proxy.Losses(); left > 0 && !s.t.Failed() {
		s.t.Errorf("redstarttest: lose replies: %d of %d writes have come: send the others, or call LoseReplies(0)", lost, left+lost)
	}
}
