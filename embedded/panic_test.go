package embedded

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A command that panics, or that ends its goroutine, ends at most its own connection. The server
// continues to serve the others.
func TestPanicsAreContained(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.mu.Lock()
	s.table["BOOM"] = keyless(1, func(*call) any { panic("boom") })
	s.table["EXIT"] = keyless(1, func(*call) any { runtime.Goexit(); return nil })
	s.mu.Unlock()

	ask := func(line string) string { // words are separated by |
		t.Helper()
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		words := strings.Split(line, "|")
		request := fmt.Sprintf("*%d\r\n", len(words))
		for _, word := range words {
			request += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
		}
		if _, err := io.WriteString(nc, request); err != nil {
			t.Fatal(err)
		}
		answer, err := bufio.NewReader(nc).ReadString('\n')
		if err != nil {
			return err.Error()
		}
		return answer
	}
	for line, want := range map[string]string{
		"BOOM":                             "-ERR the embedded engine panicked in BOOM: boom",
		"EXIT":                             "EOF",
		"EVAL|return redis.call('BOOM')|0": "boom",
		"EVAL|pcall(redis.call, 'BOOM') return 'ok'|0": "$2",
		"EVAL|return redis.call('EXIT')|0":             "EOF",
	} {
		if got := ask(line); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
		for line, want := range map[string]string{"PING": "+PONG", "EVAL|local n = 1 return n|0": ":1"} {
			if got := ask(line); !strings.HasPrefix(got, want) {
				t.Errorf("then %s: %q", line, got)
			}
		}
	}
}
