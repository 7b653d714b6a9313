package core_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/wire"
)

const (
	helloReply = "%3\r\n+server\r\n+redis\r\n+version\r\n+7.0.15\r\n+proto\r\n:3\r\n"
	infoReply  = "$45\r\n# Server\r\nredis_version:7.0.15\r\nrole:master\r\n\r\n"
)

// stub is a small server that answers as its replies say: raw text by the name of the command. A
// command without an entry gets +OK.
type stub struct {
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	replies map[string]string
	heard   []string // the names of the commands
	open    map[net.Conn]struct{}
}

// endless is a reply that never ends: the stub repeats it until the connection ends.
const endless = "endless:"

func newStub(t *testing.T, replies map[string]string) *stub {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stub{listener: listener, replies: map[string]string{"HELLO": helloReply, "INFO": infoReply, "PING": "+PONG\r\n"},
		open: map[net.Conn]struct{}{}}
	for name, reply := range replies {
		s.replies[name] = reply
	}
	s.running.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open[nc] = struct{}{}
			s.mu.Unlock()
			s.running.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.mu.Lock()
		for nc := range s.open {
			_ = nc.Close()
		}
		s.mu.Unlock()
		s.running.Wait()
	})
	return s
}

func (s *stub) serve(nc net.Conn) {
	defer func() {
		_ = nc.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, nc)
	}()
	d := wire.NewDecoder(1 << 10)
	for {
		request, _, err := d.Next()
		if err == wire.ErrNeedMore {
			if d.Fill(nc) != nil {
				return
			}
			continue
		}
		words, _ := request.AsStrSlice()
		if err != nil || len(words) == 0 {
			return
		}
		if !s.answer(nc, strings.ToUpper(words[0])) {
			return
		}
	}
}

func (s *stub) answer(nc net.Conn, command string) (ok bool) {
	s.mu.Lock()
	s.heard = append(s.heard, command)
	reply, known := s.replies[command]
	s.mu.Unlock()
	if !known {
		reply = "+OK\r\n"
	}
	more, forever := strings.CutPrefix(reply, endless)
	if forever {
		reply = strings.Repeat(more, 1+(16<<10)/len(more))
	}
	for {
		if _, err := nc.Write([]byte(reply)); err != nil {
			return false
		}
		if !forever {
			return true
		}
	}
}

func (s *stub) set(command, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies[command] = reply
}

// count returns how often the stub got a command.
func (s *stub) count(command string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.heard {
		if name == command {
			n++
		}
	}
	return n
}

func (s *stub) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func (s *stub) url() string { return "redis://" + s.listener.Addr().String() }

func codes(c *core.Core) (all []string) {
	for _, w := range c.Warnings() {
		all = append(all, w.Code)
	}
	return all
}

// A server whose reply to HELLO 3 is no refusal, and does not state protocol 3, gets RESP2. A near
// cache would wait for its pushes in vain. Protocol 3 refuses it.
func TestReplyToHelloWithoutProtocol3(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"OK":                 "+OK\r\n",
		"a number":           ":3\r\n",
		"nil":                "_\r\n",
		"an empty map":       "%0\r\n",
		"an odd list":        "*3\r\n+proto\r\n:3\r\n+server\r\n",
		"protocol 2":         "*4\r\n+server\r\n+redis\r\n+proto\r\n:2\r\n",
		"a list as protocol": "%1\r\n+proto\r\n*1\r\n:3\r\n",
		"a list as key":      "%2\r\n*1\r\n+proto\r\n:3\r\n+a\r\n+b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStub(t, map[string]string{"HELLO": reply})
			c := open(t, s.url())
			if c.Capabilities().Tracking || !slices.Contains(codes(c), "protocol") {
				t.Errorf("capabilities %+v, warnings %v, want RESP2", c.Capabilities(), c.Warnings())
			}
			if err := get(t.Context(), c, "k"); err != nil {
				t.Error(err)
			}
			client, err := c.Foreign(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Do(t.Context(), client.B().Ping().Build()).Error(); err != nil {
				t.Errorf("Client.Redis: %v", err)
			}
			_, err = openErr(t, s.url(), func(o *core.Options) { o.Protocol = 3 })
			if !errors.Is(err, fault.ErrCorrupt) || !strings.Contains(err.Error(), "HELLO 3") {
				t.Errorf("Protocol 3: %v, want ErrCorrupt that names HELLO 3", err)
			}
		})
	}

	c := open(t, newStub(t, nil).url())
	if !c.Capabilities().Tracking || slices.Contains(codes(c), "protocol") {
		t.Errorf("capabilities %+v, warnings %v, want RESP3 with the usual reply", c.Capabilities(), c.Warnings())
	}
}

// Fields of another type in the reply to HELLO 3, and an INFO of another type, lead to a warning
// and to fewer features.
func TestOddAnswersAboutTheServer(t *testing.T) {
	t.Parallel()
	odd := "%4\r\n+server\r\n*1\r\n+redis\r\n+version\r\n:7\r\n+role\r\n%0\r\n+proto\r\n:3\r\n"
	for name, info := range map[string]string{
		"a list": "*1\r\n+redis_version:7.0.15\r\n", "a map": "%1\r\n+redis_version\r\n+7.0.15\r\n",
		"a number": ":7\r\n", "nil": "_\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := open(t, newStub(t, map[string]string{"HELLO": odd, "INFO": info}).url())
			if got := codes(c); !slices.Contains(got, "info") || !slices.Contains(got, "server") {
				t.Errorf("warnings %v, want info and server", c.Warnings())
			}
			if got := c.Capabilities(); got.ShardedPubSub || got.Server != "unknown" {
				t.Errorf("%+v, want no features", got)
			}
		})
	}
}

// A refused login is one login, although Redis adds that the user may be disabled.
func TestRefusedLoginIsSentOnce(t *testing.T) {
	t.Parallel()
	const refused = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
	s := newStub(t, map[string]string{"HELLO": refused, "AUTH": refused})
	_, err := openErr(t, strings.Replace(s.url(), "redis://", "redis://ada:wrong@", 1))
	if !errors.Is(err, fault.ErrDenied) {
		t.Errorf("%v, want ErrDenied", err)
	}
	if s.count("HELLO") != 1 || s.count("AUTH") != 0 {
		t.Errorf("%d HELLO and %d AUTH, want one HELLO", s.count("HELLO"), s.count("AUTH"))
	}
}

// While a server answers everything with LOADING or the like, calls return ErrUnavailable, the
// features of the server stay unknown, and nothing is degraded for good.
func TestServerThatIsNotReady(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"LOADING Redis is loading the dataset in memory",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"BUSY Redis is busy running a script."} {
		for _, command := range []string{"HELLO", "INFO"} {
			t.Run(fmt.Sprintf("%.8s at %s", text, command), func(t *testing.T) {
				t.Parallel()
				s := newStub(t, map[string]string{command: "-" + text + "\r\n"})
				_, err := openErr(t, s.url())
				if !errors.Is(err, fault.ErrUnavailable) {
					t.Errorf("Open: %v, want ErrUnavailable", err)
				}
				c := open(t, s.url(), func(o *core.Options) { o.Lazy = true })
				if err := get(t.Context(), c, "k"); !errors.Is(err, fault.ErrUnavailable) {
					t.Errorf("a call: %v, want ErrUnavailable", err)
				}

				s.set("HELLO", helloReply)
				s.set("INFO", infoReply)
				rig.Eventually(t, 20*time.Second, "a call", func() bool { return get(t.Context(), c, "k") == nil })
				if got := c.Capabilities(); !got.Tracking || got.Version != "7.0.15" {
					t.Errorf("%+v, %v, want all features", got, c.Warnings())
				}
			})
		}
	}
}

// A reply that never ends holds up nothing: Open and calls return in their time, and the client
// ends the connection of a handshake.
func TestEndlessReplies(t *testing.T) {
	t.Parallel()
	for name, replies := range map[string]map[string]string{
		"HELLO, a list":     {"HELLO": endless + "*1000000\r\n+x\r\n"},
		"HELLO, a string":   {"HELLO": endless + "$500000000\r\n" + strings.Repeat("x", 4000)},
		"HELLO, attributes": {"HELLO": endless + "|1\r\n+x\r\n+y\r\n"},
		"HELLO, pushes":     {"HELLO": endless + ">1\r\n+x\r\n"},
		"INFO, a list":      {"INFO": endless + "*1000000\r\n+x\r\n"},
		"INFO, pushes":      {"INFO": endless + ">1\r\n+x\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStub(t, replies)
			within(t, "Open", func() {
				if c, err := openErr(t, s.url(), timeout(300*time.Millisecond)); err == nil {
					t.Errorf("Open succeeded: %v", c.Warnings())
					_ = c.Close()
				}
			})
			rig.Eventually(t, 20*time.Second, "the connection has ended", func() bool { return s.connections() == 0 })

			c := open(t, s.url(), timeout(300*time.Millisecond), func(o *core.Options) { o.Lazy = true })
			within(t, "a call", func() {
				if err := get(t.Context(), c, "k"); err == nil {
					t.Error("the call succeeded")
				}
			})
			within(t, "Close", func() { _ = c.Close() })
			rig.Eventually(t, 20*time.Second, "the connection has ended", func() bool { return s.connections() == 0 })
		})
	}
}

// A hostile length on a connection of the client library ends the connection, and not the process.
func TestHostileLengthsForTheClientLibrary(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"*-2\r\n", "$-2\r\n", "%-1\r\n", "*9223372036854775807\r\n", "$9223372036854775807\r\n",
		"~99999999999999\r\n", "=99999999999999\r\n", strings.Repeat("*1\r\n", 100000)} {
		t.Run(fmt.Sprintf("%.20q", reply), func(t *testing.T) {
			t.Parallel()
			s := newStub(t, map[string]string{"GET": reply})
			c := open(t, s.url())
			client, err := c.Foreign(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = client.Do(t.Context(), client.B().Get().Key("k").Build()).Error()
			if err == nil || rueidis.IsRedisNil(err) {
				t.Errorf("the reply was accepted: %v", err)
			}
			rig.Eventually(t, 20*time.Second, "another connection", func() bool {
				return client.Do(t.Context(), client.B().Ping().Build()).Error() == nil
			})
		})
	}
}
