package wire_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
)

// The decoder makes progress with every read, for any stream and any sizes of reads. Its replies
// and its error are the same as with one read and a buffer that holds the whole stream.
func FuzzDecoder(f *testing.F) {
	for _, data := range []string{
		"+OK\r\n:1\r\n$5\r\nhello\r\n", "*2\r\n%1\r\n+a\r\n_\r\n~1\r\n#t\r\n",
		"|1\r\n+k\r\n:1\r\n>2\r\n+invalidate\r\n*1\r\n+k\r\n",
		"$00000000000000000000000000000000000000000000000000000030\r\n012345678901234567890123456789\r\n",
		"=7\r\ntxt:abc\r\n,1.5\r\n(1\r\n",
		"!5\r\nERR x\r\n-ERR y\r\n", "$70\r\n0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
		"*-1\r\n$-1\r\n", "$3\r\nabcd",
	} {
		f.Add(data, []byte{1})
		f.Add(data, []byte{5, 0, 2})
	}
	f.Fuzz(func(t *testing.T, data string, sizes []byte) {
		const small = 64
		want, wantEnd := decode(t, data, max(small, 2*len(data)+small))
		got, end := decode(t, data, small, sizes...)
		if n := min(len(got), len(want)); !slices.Equal(got[:n], want[:n]) || len(got) > len(want) {
			t.Fatalf("in pieces %v, in one %v", got, want)
		}
		switch {
		case end.Error() == wantEnd.Error() && len(got) == len(want):
		case tooLong(end): // a small buffer does not hold the line
		default:
			t.Fatalf("in pieces %d replies and %v, in one %d and %v", len(got), end, len(want), wantEnd)
		}
	})
}

// tooLong reports that a line is longer than the buffer.
func tooLong(err error) bool {
	var bytes int
	n, _ := fmt.Sscanf(err.Error(), "received a line of more than %d bytes", &bytes)
	return n == 1 && !errors.Is(err, io.EOF)
}

// The words of a command are decoded as they were written.
func FuzzCommand(f *testing.F) {
	f.Add("SET", "key", "value", "\r\n$-1\r\n", uint8(3))
	f.Add("", "", "", "", uint8(64))
	f.Fuzz(func(t *testing.T, name, key, first, second string, size uint8) {
		words := []string{name}
		if key != "" {
			words = append(words, key)
		}
		words = append(words, first, second)
		run := []string{"EVAL", name, "2", key, first, second, key}
		stream := command(name, key, first, second) + script("EVAL", name, []string{key, first}, []string{second, key})

		got, end := decode(t, stream, 64, size)
		if want := []string{fmt.Sprintf("%q", words), fmt.Sprintf("%q", run)}; !slices.Equal(got, want) || end != io.EOF {
			t.Fatalf("%v, %v, want %v", got, end, want)
		}
	})
}
