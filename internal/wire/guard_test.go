package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/wire"
)

// guarded returns the error of a guard for a stream, in pieces of a size.
func guarded(data string, piece int) error {
	g := &wire.Guard{}
	for rest := data; rest != ""; {
		n := min(piece, len(rest))
		if err := g.Check([]byte(rest[:n])); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// What the decoder reads, the guard lets pass, in pieces of any size. A refused length after it
// shows that the guard is at the right place in the stream.
func TestGuardFollowsReplies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x\r\n$-2\r\n", 500)
	for _, data := range []string{
		"+OK\r\n", ":0\r\n:-12\r\n", "$5\r\na\r\nbc\r\n$0\r\n\r\n", "$-1\r\n*-1\r\n_\r\n", "#t\r\n,3.25\r\n(123\r\n", "=7\r\ntxt:abc\r\n",
		"!22\r\nWRONGTYPE not a list\r\n\r\n", "*0\r\n*3\r\n:1\r\n*2\r\n+a\r\n_\r\n$1\r\nb\r\n", "~2\r\n:1\r\n:2\r\n",
		"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n%0\r\n", "|1\r\n+ttl\r\n:9\r\n:1\r\n|0\r\n:2\r\n*1\r\n|1\r\n+a\r\n*1\r\n+b\r\n:3\r\n",
		">2\r\n+invalidate\r\n*1\r\n+k\r\n", ">0\r\n", "$4000\r\n" + long + "\r\n", strings.Repeat("*1\r\n", 32) + ":1\r\n",
		"*10000\r\n" + strings.Repeat("_\r\n", 10000), "+" + strings.Repeat("x", 60<<10) + "\r\n",
	} {
		if whole, end := decode(t, data, 1<<20); len(whole) == 0 || end.Error() != "EOF" {
			t.Errorf("%.40q: the decoder reads %d replies, %v", data, len(whole), end)
		}
		for _, piece := range []int{1, 2, 7, 1 << 30} {
			if err := guarded(strings.Repeat(data, 2), piece); err != nil {
				t.Errorf("%.40q in pieces of %d: %v", data, piece, err)
			}
			if err := guarded(data+"*-2\r\n", piece); err == nil {
				t.Errorf("%.40q in pieces of %d: the next reply is not checked", data, piece)
			}
		}
	}
}

func TestGuardRefuses(t *testing.T) {
	t.Parallel()
	longest := fmt.Sprintf("*%d\r\n", (576<<20)/wire.ElemSize) // fits if it is the whole reply
	for name, test := range map[string]struct{ data, want string }{
		"negative string":  {"$-2\r\n", "length of -2"},
		"negative list":    {"*-2\r\n", "length of -2"},
		"nil map":          {"%-1\r\n", "length of -1"},
		"nil push":         {">-1\r\n", "length of -1"},
		"no number":        {"$x\r\n", "invalid syntax"},
		"chunks":           {"$?\r\n", "invalid syntax"},
		"list in chunks":   {"*?\r\n", "invalid syntax"},
		"long string":      {"$536870913\r\n", "string of 536870913 bytes"},
		"long list":        {"*16777217\r\n", "list of 16777217 elements"},
		"long map":         {"%9223372036854775807\r\n", "list of 9223372036854775807"},
		"too deep":         {strings.Repeat("*1\r\n", 33), "32 deep"},
		"many long lists":  {strings.Repeat("*10000000\r\n", 2), "list of 10000000 elements"},
		"longest list":     {longest, ""},
		"after attributes": {"*2\r\n|1\r\n+k\r\n+v\r\n+x\r\n" + longest, "list of"},
		"after a reply":    {"*2\r\n|1\r\n+k\r\n+v\r\n+x\r\n+y\r\n" + longest, ""},
		"strings in lists": {"*2\r\n$536870912\r\n", ""},
		"endless line":     {"+" + strings.Repeat("x", 70<<10), "line of more than"},
		"line feed alone":  {"+a\nb\r\n", "malformed line"},
		"empty line":       {"\r\n", "malformed line"},
		"endless length":   {"$" + strings.Repeat("0", 70<<10), "line of more than"},
	} {
		for _, piece := range []int{1, 1 << 30} {
			err := guarded(test.data, piece)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s in pieces of %d: %v, want %q", name, piece, err, test.want)
			}
		}
	}
}
