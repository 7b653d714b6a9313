package embedded

import (
	"encoding/binary"
	"math"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// structLibrary is Redis' struct library: numbers and strings to and from bytes. Redis documents
// the formats in "Redis Lua API reference", section "struct library".
func structLibrary(l *lua.LState) *lua.LTable {
	t := l.NewTable()
	for name, function := range map[string]lua.LGFunction{"pack": structPack, "unpack": structUnpack, "size": structSize} {
		t.RawSetString(name, l.NewFunction(function))
	}
	return t
}

const (
	maxIntegral  = 32       // bytes of one integer, as in Redis
	maxAlignment = 16       // of '!'
	maxPacked    = 64 << 20 // bytes of one result: padding and fixed strings need no argument of that size
)

// structField is one option of a format.
type structField struct {
	option byte
	size   int // 0: the length of a string, or of nothing
}

// structFormat reads a format, one field after the other.
type structFormat struct {
	state *lua.LState
	rest  string
	big   bool
	align int
}

func newStructFormat(l *lua.LState) *structFormat {
	return &structFormat{state: l, rest: l.CheckString(1), align: 1}
}

// next returns the next field that is not a setting. It returns false at the end of the format.
func (f *structFormat) next() (structField, bool) {
	for f.rest != "" {
		option := f.rest[0]
		f.rest = f.rest[1:]
		switch option {
		case 'b', 'B', 'x':
			return structField{option, 1}, true
		case 'h', 'H':
			return structField{option, 2}, true
		case 'l', 'L', 'T', 'd':
			return structField{option, 8}, true
		case 'f':
			return structField{option, 4}, true
		case 's':
			return structField{option, 0}, true
		case 'c':
			return structField{option, f.number(1)}, true
		case 'i', 'I':
			size := f.number(4)
			if size < 1 || size > maxIntegral {
				f.state.RaiseError("integral size %d is larger than limit of %d", size, maxIntegral)
			}
			return structField{option, size}, true
		case '<', '>':
			f.big = option == '>'
		case '!':
			f.align = f.number(8)
			if f.align < 1 || f.align > maxAlignment || f.align&(f.align-1) != 0 {
				f.state.RaiseError("alignment is not a power of 2")
			}
		case ' ':
		default:
			f.state.RaiseError("invalid format option '%c'", option)
		}
	}
	return structField{}, false
}

// number reads the digits after an option.
func (f *structFormat) number(without int) int {
	n, digits := 0, 0
	for ; digits < len(f.rest) && f.rest[digits] >= '0' && f.rest[digits] <= '9'; digits++ {
		if n = 10*n + int(f.rest[digits]-'0'); n > maxPacked {
			f.state.RaiseError("integral size overflow")
		}
	}
	f.rest = f.rest[digits:]
	if digits == 0 {
		return without
	}
	return n
}

// padding returns the number of padding bytes before a field at an offset.
func (f *structFormat) padding(field structField, at int) int {
	size := min(field.size, f.align)
	if field.option == 'c' || size < 2 {
		return 0
	}
	return (size - (at & (size - 1))) & (size - 1) // like Redis, also for sizes that are no power of 2
}

func structPack(l *lua.LState) int {
	f, arg := newStructFormat(l), 2
	var out []byte
	for field, more := f.next(); more; field, more = f.next() {
		out = append(out, make([]byte, f.padding(field, len(out)))...)
		switch field.option {
		case 'x':
			out = append(out, 0)
			continue
		case 's':
			out = append(append(out, l.CheckString(arg)...), 0)
		case 'c':
			text := l.CheckString(arg)
			if field.size == 0 {
				field.size = len(text)
			}
			if len(text) < field.size {
				l.ArgError(arg, "string too short")
			}
			out = append(out, text[:field.size]...)
		default:
			out = f.putNumber(out, field, float64(l.CheckNumber(arg)))
		}
		arg++
		if len(out) > maxPacked {
			l.RaiseError("resulting string too large")
		}
	}
	l.Push(lua.LString(out))
	return 1
}

func (f *structFormat) putNumber(out []byte, field structField, n float64) []byte {
	var bits uint64
	switch {
	case field.option == 'd':
		bits = math.Float64bits(n)
	case field.option == 'f':
		bits = uint64(math.Float32bits(float32(n)))
	case n < 0:
		bits = uint64(int64(n))
	default:
		bits = uint64(n)
	}
	for i := range field.size {
		at := i
		if f.big {
			at = field.size - 1 - i
		}
		var one byte
		if at < 8 {
			one = byte(bits >> (8 * at))
		}
		out = append(out, one)
	}
	return out
}

func structUnpack(l *lua.LState) int {
	f, data, at := newStructFormat(l), l.CheckString(2), l.OptInt(3, 1)-1
	if at < 0 || at > len(data) {
		l.ArgError(3, "offset must be 1 or greater")
	}
	before := l.GetTop()
	for field, more := f.next(); more; field, more = f.next() {
		if l.GetTop()-before >= maxUnpacked {
			l.RaiseError("too many results")
		}
		at += f.padding(field, at)
		if field.option == 'c' && field.size == 0 { // the length is the number before
			if l.GetTop() == before {
				l.RaiseError("format 'c0' needs a previous size")
			}
			size, is := l.Get(-1).(lua.LNumber)
			if !is || size < 0 || float64(size) > float64(len(data)) {
				l.RaiseError("format 'c0' needs a previous size")
			}
			l.Pop(1)
			field.size = int(size)
		}
		if at > len(data) || field.size > len(data)-at {
			l.ArgError(2, "data string too short")
		}
		rest := data[at:]
		switch field.option {
		case 'x':
		case 's':
			end := strings.IndexByte(rest, 0)
			if end < 0 {
				l.RaiseError("unfinished string in data")
			}
			l.Push(lua.LString(rest[:end]))
			field.size = end + 1
		case 'c':
			l.Push(lua.LString(rest[:field.size]))
		default:
			l.Push(lua.LNumber(f.number64(rest[:field.size], field.option)))
		}
		at += field.size
	}
	l.Push(lua.LNumber(at + 1))
	return l.GetTop() - before
}

// maxUnpacked limits the results of one call to the size of the interpreter's stack.
const maxUnpacked = 4000

// number64 reads a number. Redis reads the lowest eight bytes of a longer integer.
func (f *structFormat) number64(data string, option byte) float64 {
	var low [8]byte
	for i := range min(8, len(data)) {
		if f.big {
			low[i] = data[len(data)-1-i]
		} else {
			low[i] = data[i]
		}
	}
	bits := binary.LittleEndian.Uint64(low[:])
	switch {
	case option == 'd':
		return math.Float64frombits(bits)
	case option == 'f':
		return float64(math.Float32frombits(uint32(bits)))
	case option >= 'a': // signed
		shift := 64 - 8*min(8, len(data))
		return float64(int64(bits<<shift) >> shift)
	}
	return float64(bits)
}

func structSize(l *lua.LState) int {
	f, size := newStructFormat(l), 0
	for field, more := f.next(); more; field, more = f.next() {
		size += f.padding(field, size)
		if field.option == 's' || field.option == 'c' && field.size == 0 {
			l.ArgError(1, "variable-size format in 'size'")
		}
		if size += field.size; size > maxPacked {
			l.RaiseError("resulting string too large")
		}
	}
	l.Push(lua.LNumber(size))
	return 1
}
