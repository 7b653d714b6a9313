package dial

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// socket reads from a connection of the kernel. A read that finds no data tries again for a short
// time before its goroutine waits in the network poller. A server on the same machine or in the
// same rack often answers within this time, and the switch of goroutines and threads is saved.
//
//	read: no data │ sched_yield, read: no data │ … at most busyFor │ the poller waits
//
// Between two tries, the thread yields the processor, so that the server can use it. While the
// tries fail, later reads wait in the poller at once: after each failure, twice as many as before.
// So a distant or slow server costs nearly nothing. If another process has used the processor for
// usedFor, as many reads as possible wait: the kernel wakes a waiting thread sooner than one that
// has yielded. Other goroutines do not wait either: each sharedEvery-th of these reads lets them
// run first, and counts as a failure if they used the processor.
type socket struct {
	nc   net.Conn
	raw  syscall.RawConn
	fn   func(fd uintptr) bool // read, without an allocation
	busy atomic.Bool           // see ReadBusily

	tried atomic.Int64 // reads that tried, for tests

	// The reader uses these fields alone.
	p       []byte
	n       int
	err     error
	tries   bool // the read may still try again
	used    bool // another process used the processor while the read tried
	skip    int  // reads until the next one that tries
	backoff int  // reads that are skipped after a failure
}

const (
	busyFor     = 50 * time.Microsecond
	usedFor     = 10 * busyFor
	backoffMax  = 4095
	sharedEvery = 16
	sharedFor   = 20 * time.Microsecond // other goroutines used the processor for longer
)

type tcpConn struct {
	*net.TCPConn // its Write can take several buffers (writev)
	*socket
}

type unixConn struct {
	*net.UnixConn
	*socket
}

// withBusyReads returns nc with reads that may try again. Other types may have a Read of their own,
// which must not be bypassed.
func withBusyReads(nc net.Conn) net.Conn {
	switch nc := nc.(type) {
	case *net.TCPConn:
		if s := newSocket(nc, nc); s != nil {
			return tcpConn{nc, s}
		}
	case *net.UnixConn:
		if s := newSocket(nc, nc); s != nil {
			return unixConn{nc, s}
		}
	}
	return nc
}

func newSocket(nc net.Conn, sc syscall.Conn) *socket {
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{nc: nc, raw: raw}
	s.fn = s.read
	return s
}

// ReadBusily is described at the function of this name.
func (s *socket) ReadBusily(on bool) {
	if s.busy.Load() != on {
		s.busy.Store(on)
	}
}

// Read is like the Read of a connection of package net.
func (s *socket) Read(p []byte) (int, error) {
	if !s.busy.Load() || len(p) == 0 {
		return s.nc.Read(p)
	}
	if s.skip > 0 {
		s.skip--
		return s.nc.Read(p)
	}
	if s.tried.Add(1)%sharedEvery == 0 && !s.alone() {
		s.used = false
		s.failed()
		return s.nc.Read(p)
	}

	s.p, s.tries, s.used = p, true, false
	err := s.raw.Read(s.fn)
	s.p = nil
	if s.tries {
		s.backoff /= 2
	} else {
		s.failed()
	}
	switch op, _ := err.(*net.OpError); {
	case op != nil:
		op.Op = "read"
		return 0, op
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, &net.OpError{Op: "read", Net: s.nc.LocalAddr().Network(), Source: s.nc.LocalAddr(), Addr: s.nc.RemoteAddr(),
			Err: os.NewSyscallError("read", s.err)}
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

func (s *socket) failed() {
	s.backoff = min(2*s.backoff+1, backoffMax)
	if s.used {
		s.backoff = backoffMax
	}
	s.skip = s.backoff
}

// alone reports whether no other goroutine waits for a processor. Otherwise others run.
func (s *socket) alone() bool {
	began := time.Now()
	runtime.Gosched()
	return time.Since(began) < sharedFor
}

// read returns false if the poller shall wait for data.
func (s *socket) read(fd uintptr) bool {
	var began time.Time
	for {
		n, err := syscall.Read(int(fd), s.p)
		if err == syscall.EINTR {
			continue
		}
		if s.tries && !began.IsZero() {
			took := time.Since(began)
			s.tries, s.used = took < busyFor, took >= usedFor
		}
		if err != syscall.EAGAIN {
			s.n, s.err = n, err
			return true
		}
		if !s.tries {
			return false
		}
		if began.IsZero() {
			began = time.Now()
		}
		syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0)
	}
}
