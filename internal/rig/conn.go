package rig

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// replyError is an error reply of the server.
type replyError string

func (e replyError) Error() string { return string(e) }

// IsReply reports whether err is an error reply of the server, and not the failure of a connection.
func IsReply(err error) bool {
	var reply replyError
	return errors.As(err, &reply)
}

// Conn is one connection as the default user. Its commands share the connection: for MULTI, WATCH,
// CLIENT ID and WAIT, which waits for the writes of its own connection only.
type Conn struct {
	t testing.TB
	s *Server
	c *conn
}

// target is a fuzz target whose inputs share a connection. Package testing allows no method of
// testing.F while an input runs, so a failed command is a panic.
type target struct{ *testing.F }

func (target) Helper() {}

func (target) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// Conn opens a connection and closes it at the end of the test. The inputs of a fuzz target can
// share one.
func (s *Server) Conn(t testing.TB) *Conn {
	t.Helper()
	c, err := s.dial(10 * time.Second)
	if err != nil {
		t.Fatalf("rig: %s: %v", s.name, err)
	}
	t.Cleanup(func() { c.Close() })
	if f, ok := t.(*testing.F); ok {
		t = target{f}
	}
	return &Conn{t: t, s: s, c: c}
}

// CLI runs a command on this connection, like [Server.CLI].
func (c *Conn) CLI(args ...string) string {
	c.t.Helper()
	reply, err := c.c.do(10*time.Second, args...)
	if IsReply(err) {
		return text(err)
	}
	if err != nil {
		c.t.Fatalf("rig: %s: %s: %v", c.s.name, strings.Join(args, " "), err)
	}
	return text(reply)
}

// conn is a minimal RESP2 connection with one command at a time. It uses no client library, so that
// the test harness does not depend on the code that it tests.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func newConn(c net.Conn) *conn { return &conn{Conn: c, r: bufio.NewReader(c)} }

// do sends one command and reads its reply within timeout.
func (c *conn) do(timeout time.Duration, args ...string) (any, error) {
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c.Conn, b.String()); err != nil {
		return nil, err
	}
	return c.reply()
}

func (c *conn) reply() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("rig: empty reply line")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, replyError(rest)
	case ':':
		return strconv.ParseInt(rest, 10, 64)
	case '$':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, err
		}
		buf := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, buf); err != nil {
			return nil, err
		}
		return string(buf[:n]), nil
	case '*':
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 {
			return nil, err
		}
		list := make([]any, n)
		for i := range list {
			item, err := c.reply()
			if IsReply(err) {
				item, err = err, nil
			}
			if err != nil {
				return nil, err
			}
			list[i] = item
		}
		return list, nil
	}
	return nil, fmt.Errorf("rig: unexpected reply %q", line)
}

// text formats a reply like redis-cli without a terminal: one element per line.
func text(reply any) string {
	switch v := reply.(type) {
	case nil:
		return ""
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case error:
		return "(error) " + v.Error()
	case []any:
		lines := make([]string, len(v))
		for i, item := range v {
			lines[i] = text(item)
		}
		return strings.Join(lines, "\n")
	}
	return fmt.Sprint(reply)
}
