package console

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of names on a page, in runes and bytes. A link or a form holds a name of at most
// maxLinked bytes: no name of Redstart is longer. Package inspect cuts longer ones, so that a link
// would name another object.
const (
	maxShown  = 120
	maxLinked = 1024
)

// name is a name, a key or an id that may hold any bytes.
type name struct {
	Text  string // for people: printable, at most maxShown runes
	Raw   string // for links and forms; empty if the name is too long for them
	Bytes int    // length of the name
}

// nameOf makes a name safe to show and to keep. It copies, so that a large buffer is not kept.
func nameOf(raw string) name {
	n := name{Text: printable(raw, maxShown), Bytes: len(raw)}
	if len(raw) <= maxLinked {
		n.Raw = strings.Clone(raw)
	}
	return n
}

// Linked reports whether the name fits into links and forms.
func (n name) Linked() bool { return n.Raw != "" }

// Typed returns the name for a text field. It is empty if a browser would change the name there.
func (n name) Typed() string {
	if n.Text != n.Raw && printable(n.Raw, maxLinked) != n.Raw {
		return ""
	}
	return n.Raw
}

// Empty reports whether there is no name.
func (n name) Empty() bool { return n.Bytes == 0 }

// printable returns at most limit runes of a text. Control characters, direction marks and invalid
// bytes become escapes such as \n and \u202e. A cut text ends with its length.
func printable(text string, limit int) string {
	var b strings.Builder
	for shown, rest := 0, text; rest != ""; shown++ {
		if shown == limit {
			fmt.Fprintf(&b, "… (%s bytes)", grouped(int64(len(text))))
			break
		}
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, rest[0])
		case !strconv.IsPrint(r):
			escaped := strconv.QuoteRuneToASCII(r)
			b.WriteString(escaped[1 : len(escaped)-1])
		default:
			b.WriteRune(r)
		}
		rest = rest[size:]
	}
	return b.String()
}

// grouped returns a number with a comma between thousands.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// amount returns a number with about three significant digits, and k, M or G.
func amount(v float64) string {
	for _, scale := range []struct {
		from float64
		unit string
	}{{1e9, "G"}, {1e6, "M"}, {1e4, "k"}} {
		if v >= scale.from {
			divided := v / scale.from
			if scale.unit == "k" {
				divided = v / 1e3
			}
			return significant(divided) + scale.unit
		}
	}
	return significant(v)
}

func significant(v float64) string {
	digits := 0
	switch {
	case v == 0, v >= 100:
	case v >= 1:
		digits = 1
	default:
		digits = 2
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// size returns a number of bytes with a unit.
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n)/1024, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	return significant(v) + " " + unit
}

// span returns a duration with one or two units: 340 ms, 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h.
func span(d time.Duration) string {
	if d < 0 {
		return "−" + span(-d)
	}
	two := func(big time.Duration, bigUnit string, small time.Duration, smallUnit string) string {
		text := fmt.Sprintf("%d %s", d/big, bigUnit)
		if rest := d % big / small; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, smallUnit)
		}
		return text
	}
	switch {
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return significant(d.Truncate(100*time.Millisecond).Seconds()) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return two(time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return two(time.Hour, "h", time.Minute, "min")
	}
	return two(24*time.Hour, "d", time.Hour, "h")
}

// counted returns a number with its noun: 1 lock, 1,000 locks.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(int64(n)) + " " + many
}
