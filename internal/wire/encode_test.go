package wire_test

import (
	"fmt"
	"testing"

	"github.com/redstart-go/redstart/internal/wire"
)

func TestCommandsOnTheWire(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{string(wire.AppendCommand(nil, "PING", "")), "*1\r\n$4\r\nPING\r\n"},
		{string(wire.AppendCommand([]byte("before"), "GET", "k")), "before*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"},
		{string(wire.AppendCommand(nil, "SET", "k\r\n", "", "NX")), "*4\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n$2\r\nNX\r\n"},
		{string(wire.AppendScript(nil, "EVALSHA", "abc", nil, nil)), "*3\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n0\r\n"},
		{
			string(wire.AppendScript(nil, "EVAL", "return 1", []string{"k", ""}, []string{"a"})),
			"*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n2\r\n$1\r\nk\r\n$0\r\n\r\n$1\r\na\r\n",
		},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { sink = wire.AppendCommand(sink[:0], "GET", "key") }); n > 1 {
		t.Errorf("a command allocates %v times", n)
	}
}

var sink = make([]byte, 0, 1<<10)

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
