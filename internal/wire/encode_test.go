package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/wire"
)

func TestCommandsOnTheWire(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{command("PING", ""), "*1\r\n$4\r\nPING\r\n"},
		{command("GET", "k"), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"},
		{command("SET", "k\r\n", "", "NX"), "*4\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n$2\r\nNX\r\n"},
		{script("EVALSHA", "abc", nil, nil), "*3\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n0\r\n"},
		{
			script("EVAL", "return 1", []string{"k", ""}, []string{"a"}),
			"*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n2\r\n$1\r\nk\r\n$0\r\n\r\n$1\r\na\r\n",
		},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
	var b wire.Buffer
	long := strings.Repeat("x", 1<<20)
	if n := testing.AllocsPerRun(100, func() {
		b.Command("SET", "key", "value", "PX", "1000")
		b.Command("SET", "key", long, "PX", "1000")
		b.Reset(1 << 10)
	}); n > 0 {
		t.Errorf("commands allocate %v times", n)
	}
}

// Long words are kept by reference and written in their places. This also holds for parts, and
// after a write that ended early.
func TestLongWordsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	long := []string{strings.Repeat("a", wire.LongWord), strings.Repeat("b", 1<<20)}
	var all wire.Buffer
	var want []string
	var marks []wire.Mark
	for _, words := range [][]string{{"SET", "k", "short"}, {"SET", "k", long[0], "PX", "1"}, {"GET", "k"},
		{"MSET", "k", long[1], long[0]}, {"SET", "k", long[1]}} {
		marks = append(marks, all.Mark())
		all.Command(words[0], words[1], words[2:]...)
		whole := fmt.Sprintf("*%d\r\n", len(words))
		for _, word := range words {
			whole += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
		}
		want = append(want, whole)
	}
	marks = append(marks, all.Mark())
	if got := bytesOf(&all); got != strings.Join(want, "") || all.Len() != len(got) || marks[5].After(marks[0]) != len(got) {
		t.Fatalf("wrote %d bytes of %d, want %d", len(got), all.Len(), len(strings.Join(want, "")))
	}

	var some wire.Buffer
	for _, i := range []int{0, 1, 3} {
		some.Part(&all, marks[i], marks[i+1])
	}
	some.Command("GET", "k")
	if got := bytesOf(&some); got != want[0]+want[1]+want[3]+want[2] || some.Len() != len(got) {
		t.Fatalf("wrote %d bytes of %d, want %d", len(got), some.Len(), len(want[0]+want[1]+want[3]+want[2]))
	}

	for _, limit := range []int{0, 1, len(want[0]) + 20, len(want[0]) + 1000, len(want[0]) + len(want[1]) + 5, all.Len() - 1} {
		to := &sink{limit: limit}
		rest, err := all.Write(to)
		if !errors.Is(err, errFull) {
			t.Fatalf("%d of %d bytes: %v", limit, all.Len(), err)
		}
		to.limit = 1 << 30
		if _, err := rest.WriteTo(to); err != nil || to.String() != strings.Join(want, "") {
			t.Fatalf("after %d of %d bytes, the rest makes %d: %v", limit, all.Len(), to.Len(), err)
		}
	}
}

// sink is a connection that accepts a limited number of bytes.
type sink struct {
	net.Conn
	bytes.Buffer
	limit int
}

var errFull = errors.New("full")

func (s *sink) Write(b []byte) (int, error) {
	if left := s.limit - s.Len(); len(b) > left {
		n, _ := s.Buffer.Write(b[:left])
		return n, errFull
	}
	return s.Buffer.Write(b)
}

func (s *sink) Read(b []byte) (int, error) { return s.Buffer.Read(b) }

func command(name, key string, args ...string) string {
	var b wire.Buffer
	b.Command(name, key, args...)
	return bytesOf(&b)
}

func script(name, text string, keys, args []string) string {
	var b wire.Buffer
	b.Script(name, text, keys, args)
	return bytesOf(&b)
}

func bytesOf(b *wire.Buffer) string {
	to := &sink{limit: 1 << 30}
	_, _ = b.Write(to) // to accepts all bytes
	return to.String()
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{256, 100 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			one := fmt.Appendf(nil, "$%d\r\n%s\r\n", size, make([]byte, size))
			d := wire.NewDecoder(64 << 10)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				from := &buffer{one}
				for {
					_, _, err := d.Next()
					if err == nil {
						break
					}
					if err != wire.ErrNeedMore {
						b.Fatal(err)
					}
					if err := d.Fill(from); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

type buffer struct{ rest []byte }

func (r *buffer) Read(b []byte) (int, error) {
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
