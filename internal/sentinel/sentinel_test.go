package sentinel_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/sentinel"
	"github.com/redstart-go/redstart/internal/wire"
)

// answering is a network of sentinels. Each sentinel answers its commands with the given lines. A
// sentinel without an entry refuses the connection. A sentinel with an empty entry never answers.
type answering struct {
	answers map[string][]string
	mu      sync.Mutex
	dialed  []string
	heard   []string
}

func (a *answering) dial(_ context.Context, addr string) (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dialed = append(a.dialed, addr)
	answers, ok := a.answers[addr]
	if !ok {
		return nil, errors.New("refused")
	}
	ours, theirs := net.Pipe()
	go a.serve(theirs, answers)
	return ours, nil
}

func (a *answering) serve(nc net.Conn, answers []string) {
	defer nc.Close()
	d := wire.NewDecoder(1 << 10)
	for {
		reply, _, err := d.Next()
		if err == nil {
			words, _ := reply.AsStrSlice()
			a.mu.Lock()
			a.heard = append(a.heard, strings.Join(words, " "))
			a.mu.Unlock()
			if len(answers) > 0 {
				_, _ = nc.Write([]byte(answers[0]))
				answers = answers[1:]
			}
			continue
		}
		if err := d.Fill(nc); err != nil {
			return
		}
	}
}

const here = "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n"

func TestPrimary(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answers            map[string][]string
		username, password string
		want, err, heard   string
		class              error
	}{
		"the first knows": {answers: map[string][]string{"a": {here}}, want: "127.0.0.1:6380",
			heard: "SENTINEL GET-MASTER-ADDR-BY-NAME main"},
		"the first is dead":   {answers: map[string][]string{"b": {here}}, want: "127.0.0.1:6380"},
		"the first is silent": {answers: map[string][]string{"a": {}, "b": {here}}, want: "127.0.0.1:6380"},
		"with a password": {answers: map[string][]string{"a": {"+OK\r\n", here}}, password: "p",
			want: "127.0.0.1:6380", heard: "AUTH p"},
		"with a user": {answers: map[string][]string{"a": {"+OK\r\n", here}}, username: "u",
			password: "p", want: "127.0.0.1:6380", heard: "AUTH u p"},
		"the password differs": {answers: map[string][]string{"a": {"-WRONGPASS no\r\n"}}, password: "p",
			err: "sentinel a: ", class: fault.ErrDenied},
		"an unknown name": {answers: map[string][]string{"a": {"*-1\r\n"}, "b": {"*-1\r\n"}},
			err: `the sentinel knows no master named "main"`, class: fault.ErrUnavailable},
		"another shape": {answers: map[string][]string{"a": {"*1\r\n+x\r\n"}}, err: "sentinel a: ",
			class: fault.ErrCorrupt},
		"all are dead": {err: "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &answering{answers: test.answers}
			s := sentinel.Sentinels{Addrs: []string{"a", "b"}, MasterSet: "main", Username: test.username,
				Password: test.password, Timeout: 10 * time.Second, Dial: a.dial}
			got, err := s.Primary(t.Context())
			if got != test.want || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q, %v, want %q, %q", got, err, test.want, test.err)
			}
			if test.class != nil && !errors.Is(err, test.class) {
				t.Errorf("%v is not %v", err, test.class)
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if test.heard != "" && (len(a.heard) == 0 || a.heard[0] != test.heard) {
				t.Errorf("the sentinel got %q, want %q", a.heard, test.heard)
			}
		})
	}
}

// The sentinel that answered last is asked first, so a dead sentinel costs its delay once.
func TestTheSentinelThatAnsweredIsAskedFirst(t *testing.T) {
	t.Parallel()
	a := &answering{answers: map[string][]string{"b": {here}}}
	s := sentinel.Sentinels{Addrs: []string{"a", "b"}, MasterSet: "main", Timeout: 10 * time.Second, Dial: a.dial}
	for range 3 {
		if _, err := s.Primary(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(a.dialed, ""); got != "abbb" {
		t.Errorf("asked %s, want abbb", got)
	}
}
