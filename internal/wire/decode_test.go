package wire_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/wire"
)

// Each type of RESP3, read in one piece and one byte at a time.
func TestDecoderReadsEveryType(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3000)
	for _, test := range []struct {
		data string
		want []string
	}{
		{"+OK\r\n", []string{`"OK"`}},
		{":0\r\n:-12\r\n:+7\r\n:9223372036854775807\r\n", []string{"0", "-12", "7", "9223372036854775807"}},
		{"$5\r\na\r\nbc\r\n$0\r\n\r\n", []string{`"a\r\nbc"`, `""`}},
		{"$3000\r\n" + long + "\r\n:1\r\n", []string{`"` + long + `"`, "1"}},
		{"_\r\n$-1\r\n*-1\r\n", []string{"nil", "nil", "nil"}},
		{"#t\r\n#f\r\n", []string{"1", "0"}},
		{",3.25\r\n(123456789012345678901\r\n", []string{`"3.25"`, `"123456789012345678901"`}},
		{"=7\r\ntxt:abc\r\n=3004\r\ntxt:" + long[:3000] + "\r\n", []string{`"abc"`, `"` + long + `"`}},
		{"*0\r\n*3\r\n:1\r\n*2\r\n+a\r\n_\r\n$1\r\nb\r\n", []string{"[]", `[1 ["a" nil] "b"]`}},
		{"~2\r\n:1\r\n:2\r\n", []string{"[1 2]"}},
		{"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n%0\r\n", []string{`{"a":1 "b":[2]}`, "{}"}},
		{"|1\r\n+ttl\r\n:9\r\n:1\r\n|0\r\n:2\r\n*1\r\n|1\r\n+a\r\n*1\r\n+b\r\n:3\r\n", []string{"1", "2", "[3]"}},
		{">2\r\n+invalidate\r\n*1\r\n+k\r\n:5\r\n>0\r\n", []string{`push ["invalidate" ["k"]]`, "5", "push []"}},
	} {
		whole, end := decode(t, test.data, 64)
		if !slices.Equal(whole, test.want) || end != io.EOF {
			t.Errorf("%.40q: %v, %v, want %v", test.data, whole, end, test.want)
		}
		if parts, end := decode(t, test.data, 64, 1); !slices.Equal(parts, test.want) || end != io.EOF {
			t.Errorf("%.40q in single bytes: %v, %v, want %v", test.data, parts, end, test.want)
		}
	}
}

func TestDecoderReadsErrors(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"-WRONGTYPE not a list\r\n", "!22\r\nWRONGTYPE not a list\r\n\r\n",
		"*1\r\n-WRONGTYPE not a list\r\n"} {
		got, end := decode(t, data, 64)
		if len(got) != 1 || !strings.Contains(got[0], "WRONGTYPE") || end != io.EOF {
			t.Errorf("%q: %v, %v", data, got, end)
		}
	}
}

// A stream that is not RESP3, or exceeds a budget, ends the connection.
func TestDecoderRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ data, want string }{
		"unknown type":            {"?x\r\n", "unknown message type"},
		"unknown type, no end":    {"HTTP/1.1 400", "unknown message type"},
		"empty line":              {"\r\n", "unknown message type"},
		"endless line":            {"+" + strings.Repeat("x", 200), "line of more than"},
		"number":                  {":1x\r\n", "invalid syntax"},
		"number without digits":   {":-\r\n", "invalid syntax"},
		"number too large":        {":9223372036854775808\r\n", "out of range"},
		"length":                  {"$x\r\n", "invalid syntax"},
		"string without end":      {"$3\r\nabcde", "without its line end"},
		"long string without end": {"$100\r\n" + strings.Repeat("x", 102), "without its line end"},
		"string over the budget":  {"$536870913\r\n", "string of 536870913 bytes"},
		"list over the budget":    {"*16777217\r\n", "list of 16777217 elements"},
		"map over the budget":     {"%9223372036854775807\r\n", "list of 9223372036854775807"},
		"list too deep":           {strings.Repeat("*1\r\n", 33), "32 deep"},
		"set of a negative size":  {"~-1\r\n", "list of -1"},
		"attribute, negative":     {"|-1\r\n", "list of -1"},
		"push in a reply":         {"*1\r\n>1\r\n+a\r\n", "push within a reply"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, sizes := range [][]byte{{0}, {1}} {
				got, end := decode(t, ":1\r\n"+test.data, 64, sizes...)
				if !slices.Equal(got, []string{"1"}) || end == nil || !strings.Contains(end.Error(), test.want) {
					t.Errorf("%v, %v, want 1 and %q", got, end, test.want)
				}
				if strings.Contains(name, "budget") && !errors.Is(end, fault.ErrTooLarge) {
					t.Errorf("%v is not ErrTooLarge", end)
				}
			}
		})
	}
}

// A reply has one budget for all its parts: many small elements, nested lists, strings and lines. A
// part that would exceed it is refused when it is announced. The next reply has the whole budget
// again.
func TestDecoderBoundsOneReply(t *testing.T) {
	t.Parallel()
	const limit = 100 * wire.ElemSize
	ten := "*10\r\n" + strings.Repeat(":1\r\n", 10)
	text := fmt.Sprintf("$%d\r\n%s\r\n", 50*wire.ElemSize, strings.Repeat("x", int(50*wire.ElemSize)))
	line := "+" + strings.Repeat("x", int(wire.ElemSize)) + "\r\n"
	for name, test := range map[string]struct {
		data string
		fits bool
	}{
		"a list":                    {"*100\r\n" + strings.Repeat(":1\r\n", 100), true},
		"a list that is too long":   {"*101\r\n", false},
		"a map":                     {"%50\r\n" + strings.Repeat("+\r\n:1\r\n", 50), true},
		"a map that is too long":    {"%51\r\n", false},
		"nested lists":              {"*9\r\n" + strings.Repeat(ten, 9), true},
		"too many nested lists":     {"*10\r\n" + strings.Repeat(ten, 9) + "*1\r\n", false},
		"strings":                   {"*2\r\n" + text + ":1\r\n", true},
		"strings that are too long": {"*2\r\n" + text + fmt.Sprintf("$%d\r\n", 49*wire.ElemSize), false},
		"lines":                     {"*50\r\n" + strings.Repeat(line, 50), true},
		"too many lines":            {"*51\r\n" + strings.Repeat(line, 51), false},
		"attributes":                {"|49\r\n" + strings.Repeat("+\r\n:1\r\n", 49) + ":1\r\n", true},
		"too many attributes":       {"|51\r\n", false},
		"a reply after a larger one": {"*100\r\n" + strings.Repeat(":1\r\n", 100) + "*100\r\n" +
			strings.Repeat(":1\r\n", 100), true},
		"a push after a larger reply": {text + ">1\r\n" + text, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, sizes := range [][]byte{{0}, {1}} {
				_, end := decodeWithin(t, limit, test.data, 1<<10, sizes...)
				if test.fits && end != io.EOF || !test.fits && !errors.Is(end, fault.ErrTooLarge) {
					t.Errorf("in reads of %v: %v", sizes, end)
				}
			}
		})
	}
}

// A list of the greatest depth is read.
func TestDecoderReadsNestedLists(t *testing.T) {
	t.Parallel()
	got, end := decode(t, strings.Repeat("*1\r\n", 32)+":1\r\n", 64)
	if want := strings.Repeat("[", 32) + "1" + strings.Repeat("]", 32); !slices.Equal(got, []string{want}) || end != io.EOF {
		t.Errorf("%v, %v, want %s", got, end, want)
	}
}

// A length with many leading zeros takes the space of the string that it announces. The decoder
// must still read the string.
func TestDecoderGetsOnAfterLongHead(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 30)
	for zeros := range 60 {
		got, end := decode(t, fmt.Sprintf("$%s30\r\n%s\r\n", strings.Repeat("0", zeros), text), 64)
		if !slices.Equal(got, []string{`"` + text + `"`}) || end != io.EOF {
			t.Fatalf("%d zeros: %v, %v", zeros, got, end)
		}
	}
}

// A server that announces 512 MiB and sends nothing gets no more memory than a server that
// announces 2 MiB.
func TestDecoderAllocatesWhatArrives(t *testing.T) {
	allocated := func(data string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got, end := decode(t, data, 1<<10); len(got) != 0 || end != io.EOF {
			t.Fatalf("%v, %v", got, end)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for kind, counts := range map[string][2]string{"$": {"2097152", "536870912"}, "*": {"2048", "8388608"},
		"%": {"2048", "4194304"}} {
		few, many := allocated(kind+counts[0]+"\r\n"), allocated(kind+counts[1]+"\r\n")
		if many > 2*few {
			t.Errorf("%s%s takes %d bytes, %s%s %d", kind, counts[1], many, kind, counts[0], few)
		}
	}
}

// Strings around the sizes at which the decoder changes its method, in reads of several sizes.
func TestDecoderReadsStringsOfAllSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 29, 30, 31, 32, 61, 62, 63, 64, 65, 1000, 1<<20 - 2, 1<<20 - 1, 1 << 20,
		2<<20 - 1, 5 << 20} {
		text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		stream := command(text, "k")
		for _, sizes := range [][]byte{{0}, {255}, {7, 0}} {
			got, end := decode(t, stream, 64, sizes...)
			if want := fmt.Sprintf("[%q %q]", text, "k"); !slices.Equal(got, []string{want}) || end != io.EOF {
				t.Fatalf("%d bytes, reads of %v: %d replies, %v", size, sizes, len(got), end)
			}
		}
	}
}

// partsReader counts the bytes that each read may take.
type partsReader struct {
	io.Reader
	most int
}

func (r *partsReader) Read(p []byte) (int, error) {
	r.most = max(r.most, len(p))
	return r.Reader.Read(p)
}

// One read takes a bounded part of a long string, so that its reader can yield between two reads.
func TestDecoderReadsALongStringInParts(t *testing.T) {
	t.Parallel()
	const size, part = 4 << 20, 128 << 10
	from := &partsReader{Reader: strings.NewReader(fmt.Sprintf("$%d\r\n%s\r\n", size, strings.Repeat("x", size)))}
	d := wire.NewDecoder(1 << 10)
	for {
		reply, _, err := d.Next()
		if err == nil {
			if text, err := reply.ToString(); err != nil || len(text) != size {
				t.Errorf("%d bytes, %v", len(text), err)
			}
			break
		}
		if err != wire.ErrNeedMore {
			t.Fatal(err)
		}
		if err := d.Fill(from); err != nil {
			t.Fatal(err)
		}
	}
	if from.most > part {
		t.Errorf("one read took up to %d bytes, want at most %d", from.most, part)
	}
}
