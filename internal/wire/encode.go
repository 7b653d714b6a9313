package wire

import (
	"net"
	"strconv"
	"unsafe"
)

// Buffer collects commands until they are written. It copies words into one piece of memory. It
// keeps words of [LongWord] bytes and more by reference, so that a value of 1 MiB needs no copy.
type Buffer struct {
	bytes []byte
	long  []longWord
	size  int // bytes of all words
}

// longWord is a word before the byte at index at.
type longWord struct {
	at   int
	text string
}

// LongWord is the length from which a word is not copied. For shorter words, a copy costs less than
// another piece for the kernel.
const LongWord = 32 << 10

// Mark is a position in a [Buffer].
type Mark struct{ bytes, long, size int }

// After returns the number of bytes between an earlier position and this one.
func (m Mark) After(from Mark) int { return m.size - from.size }

// Len returns the number of bytes to write.
func (b *Buffer) Len() int { return b.size }

// Mark returns the position of the next command.
func (b *Buffer) Mark() Mark { return Mark{len(b.bytes), len(b.long), b.size} }

// Command adds a command: its name, its key unless the key is empty, and its arguments.
func (b *Buffer) Command(name, key string, args ...string) {
	words := 1 + len(args)
	if key != "" {
		words++
	}
	b.head(words)
	b.word(name)
	if key != "" {
		b.word(key)
	}
	for _, arg := range args {
		b.word(arg)
	}
}

// Script adds a call of a script. name is EVAL with the script's text, or EVALSHA with its digest.
func (b *Buffer) Script(name, script string, keys, args []string) {
	b.head(3 + len(keys) + len(args))
	b.word(name)
	b.word(script)

	var digits [20]byte
	b.word(string(strconv.AppendInt(digits[:0], int64(len(keys)), 10)))
	for _, key := range keys {
		b.word(key)
	}
	for _, arg := range args {
		b.word(arg)
	}
}

// Part adds the bytes of another Buffer between two positions.
func (b *Buffer) Part(of *Buffer, from, to Mark) {
	for _, w := range of.long[from.long:to.long] {
		b.long = append(b.long, longWord{len(b.bytes) + w.at - from.bytes, w.text})
		b.size += len(w.text)
	}
	b.bytes = append(b.bytes, of.bytes[from.bytes:to.bytes]...)
	b.size += to.bytes - from.bytes
}

// Reset empties the Buffer. It keeps the memory, unless this is more than most bytes.
func (b *Buffer) Reset(most int) {
	clear(b.long)
	b.bytes, b.long, b.size = b.bytes[:0], b.long[:0], 0
	if cap(b.bytes)+cap(b.long) > most {
		*b = Buffer{}
	}
}

// Write writes all commands. After an error it returns the bytes that were not written.
func (b *Buffer) Write(to net.Conn) (rest net.Buffers, err error) {
	if len(b.long) > 0 {
		return b.writePieces(to)
	}
	n, err := to.Write(b.bytes)
	if err != nil {
		rest = net.Buffers{b.bytes[n:]}
	}
	return rest, err
}

func (b *Buffer) writePieces(to net.Conn) (rest net.Buffers, err error) {
	pieces := make(net.Buffers, 0, 2*len(b.long)+1)
	at := 0
	for _, w := range b.long {
		pieces = append(pieces, b.bytes[at:w.at], unsafe.Slice(unsafe.StringData(w.text), len(w.text)))
		at = w.at
	}
	pieces = append(pieces, b.bytes[at:])
	_, err = pieces.WriteTo(to)
	return pieces, err
}

// word adds one argument as a bulk string.
func (b *Buffer) word(word string) {
	was := len(b.bytes)
	b.bytes = append(b.bytes, '$')
	b.bytes = strconv.AppendInt(b.bytes, int64(len(word)), 10)
	b.bytes = append(b.bytes, '\r', '\n')
	if len(word) >= LongWord {
		b.long = append(b.long, longWord{len(b.bytes), word})
		b.size += len(word)
	} else {
		b.bytes = append(b.bytes, word...)
	}
	b.bytes = append(b.bytes, '\r', '\n')
	b.size += len(b.bytes) - was
}

func (b *Buffer) head(words int) {
	was := len(b.bytes)
	b.bytes = append(b.bytes, '*')
	b.bytes = strconv.AppendInt(b.bytes, int64(words), 10)
	b.bytes = append(b.bytes, '\r', '\n')
	b.size += len(b.bytes) - was
}
