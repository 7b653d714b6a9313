package lock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/lock"
)

// contender is another process that uses a lock. Mode hold acquires the lock and keeps it. Mode
// work acquires it repeatedly, changes a counter in a store while it holds the lock, and prints
// each step with its time. Mode stubborn acquires it once, holds it until it is lost, and prints
// the last moment at which it believed to hold the lock.
//
//	acquire <call> <return> <token>
//	release <call> <return> <token>
//	lost <when> <token>
//	read|write|uread|uwrite <call> <return> <token> <value> <ok>
func contender() {
	if err := contend(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func contend() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("LOCK_URL"), Namespace: "app"})
	// the process may start during a fault
	for patience := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(patience); {
		time.Sleep(50 * time.Millisecond)
		client, err = redstart.Open(ctx, redstart.Config{URL: os.Getenv("LOCK_URL"), Namespace: "app"})
	}
	if err != nil {
		return err
	}
	defer client.Close()
	ttl, err := time.ParseDuration(os.Getenv("LOCK_TTL"))
	if err != nil {
		return err
	}
	opts := lock.Options{TTL: ttl, Wait: lock.WaitForever}
	if margin := os.Getenv("LOCK_MARGIN"); margin != "" {
		if opts.Margin, err = time.ParseDuration(margin); err != nil {
			return err
		}
	}
	locker, err := lock.New(client, opts)
	if err != nil {
		return err
	}
	name := os.Getenv("LOCK_NAME")
	if os.Getenv("LOCK_MODE") == "hold" {
		held, err := locker.Acquire(ctx, name)
		if err != nil {
			return err
		}
		fmt.Println("held", held.Token())
		io.Copy(io.Discard, os.Stdin) // until the end of stdin, or until the process is killed
		return held.Release(ctx)
	}
	if os.Getenv("LOCK_MODE") == "stubborn" {
		return believe(ctx, locker, name)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	conn, err := net.Dial("tcp", os.Getenv("LOCK_STORE"))
	if err != nil {
		return err
	}
	defer conn.Close()
	w := &contenderAtWork{conn: conn, replies: bufio.NewReader(conn)}
	for ctx.Err() == nil {
		w.round(ctx, locker, name)
	}
	return nil
}

// believe holds the lock until it is lost. It takes the time before it asks the context, so that
// the time is one of belief even if the process runs again late.
func believe(ctx context.Context, locker *lock.Locker, name string) error {
	called := time.Now().UnixNano()
	held, err := locker.Acquire(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println("acquire", called, time.Now().UnixNano(), held.Token())
	believed := called
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		now := time.Now().UnixNano()
		if held.Context().Err() != nil {
			break
		}
		believed = now
		<-tick.C
	}
	fmt.Println("lost", believed, held.Token())
	return nil
}

type contenderAtWork struct {
	conn    net.Conn
	replies *bufio.Reader
	mu      sync.Mutex // guards stdout
}

func (w *contenderAtWork) print(args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Println(args...)
}

func (w *contenderAtWork) round(ctx context.Context, locker *lock.Locker, name string) {
	called := time.Now().UnixNano()
	held, err := locker.Acquire(ctx, name)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	w.print("acquire", called, time.Now().UnixNano(), held.Token())
	lost := make(chan struct{})
	context.AfterFunc(held.Context(), func() {
		defer close(lost)
		if errors.Is(context.Cause(held.Context()), lock.ErrLost) {
			w.print("lost", time.Now().UnixNano(), held.Token())
		}
	})
	value, ok := w.ask("read", held.Token(), 0)
	uvalue, _ := w.ask("uread", held.Token(), 0)
	select { // the protected work
	case <-time.After(5 * time.Millisecond):
	case <-held.Context().Done():
	}
	if held.Context().Err() == nil { // a careful holder asks before it writes
		if ok {
			w.ask("write", held.Token(), value+1)
		}
		w.ask("uwrite", held.Token(), uvalue+1)
	}
	ended := time.Now().UnixNano()
	err = held.Release(context.Background())
	<-lost
	if errors.Is(err, lock.ErrLost) {
		if errors.Is(context.Cause(held.Context()), lock.ErrLost) {
			return // printed already
		}
		w.print("lost", ended, held.Token())
		return
	}
	returned := strconv.FormatInt(time.Now().UnixNano(), 10)
	if err != nil {
		returned = "-" // released at an unknown later time
	}
	w.print("release", ended, returned, held.Token())
}

func (w *contenderAtWork) ask(verb string, token, value int64) (int64, bool) {
	called := time.Now().UnixNano()
	fmt.Fprintln(w.conn, verb, token, value)
	var ok bool
	if _, err := fmt.Fscanln(w.replies, &value, &ok); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	w.print(verb, called, time.Now().UnixNano(), token, value, ok)
	return value, ok
}

// store is the data that the lock protects: one counter with a fence, and one without.
type store struct {
	addr string
	wg   sync.WaitGroup
	l    net.Listener

	mu       sync.Mutex
	conns    []net.Conn
	fence    int64
	value    int64
	unfenced int64
	log      []event // calls of the fenced counter; a killed contender cannot report its own
}

func newStore(t testing.TB) *store {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{addr: l.Addr().String(), l: l}
	s.wg.Go(s.serve)
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

func (s *store) serve() {
	for {
		conn, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		s.wg.Go(func() {
			defer conn.Close()
			for r := bufio.NewScanner(conn); r.Scan(); {
				var verb string
				var token, value int64
				if _, err := fmt.Sscan(r.Text(), &verb, &token, &value); err != nil {
					return
				}
				value, ok := s.do(verb, token, value)
				fmt.Fprintln(conn, value, ok)
			}
		})
	}
}

func (s *store) do(verb string, token, value int64) (int64, bool) {
	e := event{verb: verb, call: time.Now().UnixNano(), token: token, value: value}
	s.mu.Lock()
	defer s.mu.Unlock()
	if verb == "read" || verb == "write" {
		defer func() {
			if e.ok && verb == "read" {
				e.value = s.value
			}
			e.end = time.Now().UnixNano()
			s.log = append(s.log, e)
		}()
		if token < s.fence {
			return 0, false
		}
		s.fence, e.ok = token, true
	}
	switch verb {
	case "read":
		return s.value, true
	case "write":
		s.value = value
	case "uread":
		return s.unfenced, true
	case "uwrite":
		s.unfenced = value
	}
	return value, true
}

// event is a line that a contender printed.
type event struct {
	verb         string
	call, end    int64 // an end of 0 is open
	token, value int64
	ok           bool
}

func parseEvent(line string) (event, error) {
	f := strings.Fields(line)
	num := func(i int) int64 {
		if i >= len(f) || f[i] == "-" {
			return 0
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	switch {
	case len(f) == 4 && (f[0] == "acquire" || f[0] == "release"):
		return event{verb: f[0], call: num(1), end: num(2), token: num(3)}, nil
	case len(f) == 3 && f[0] == "lost":
		return event{verb: f[0], call: num(1), token: num(2)}, nil
	case len(f) == 6:
		return event{verb: f[0], call: num(1), end: num(2), token: num(3), value: num(4), ok: f[5] == "true"}, nil
	}
	return event{}, fmt.Errorf("a contender printed %q", line)
}
