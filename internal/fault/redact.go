package fault

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText is how many bytes an error repeats from the text of a server or a library.
const maxText = 300

// clean makes the text of another program fit for an error of the library: one line, of limited
// length, without secrets.
//
// Two kinds of text hold secrets. A URL holds a password before the last @ of its authority. And a
// server repeats the arguments of a command that it does not know, including AUTH.
func clean(text string) string {
	for _, echo := range []string{", with args beginning with", ", with args:"} {
		text, _, _ = strings.Cut(text, echo)
	}
	text = maskURLs(text)
	if strings.ContainsFunc(text, unprintable) {
		text = strings.Map(func(r rune) rune {
			if unprintable(r) {
				return ' '
			}
			return r
		}, text)
	}
	text = strings.TrimSpace(text)
	if len(text) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "…"
	}
	return text
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// maskURLs replaces the text between :// and the last @ before a space or a quote. This may hide
// more than the password, because an unescaped password may hold any delimiter.
func maskURLs(text string) string {
	var b strings.Builder
	for {
		i := strings.Index(text, "://")
		if i < 0 {
			break
		}
		i += len("://")
		end := strings.IndexAny(text[i:], " \t\r\n\"'`")
		if end < 0 {
			end = len(text) - i
		}
		at := strings.LastIndexByte(text[i:i+end], '@')
		if at < 0 {
			b.WriteString(text[:i])
			text = text[i:]
			continue
		}
		b.WriteString(text[:i])
		b.WriteString("***")
		text = text[i+at:]
	}
	if b.Len() == 0 {
		return text
	}
	b.WriteString(text)
	return b.String()
}
