package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/redstart-go/redstart/inspect"
)

// maxCell bounds what a table shows of one name, in bytes. JSON has the whole name.
const maxCell = 200

// cell returns a name for a table. A name that is empty, is long, or holds anything except
// printable characters is quoted, so that it can't control the terminal.
func cell(text string) string {
	long := len(text) > maxCell
	if long {
		text = text[:maxCell]
	}
	if text != "" && !long && strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	text = strconv.QuoteToGraphic(text)
	if long {
		text += "…"
	}
	return text
}

func hidden(r rune) bool {
	return r == '"' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// printable returns a message on one line, with each character escaped that could control the
// terminal.
func printable(message string) string { return strings.ReplaceAll(lines(message), "\n", `\n`) }

// lines is [printable] for a text of several lines.
func lines(message string) string {
	var b strings.Builder
	for _, r := range message {
		if unicode.IsPrint(r) || r == '\n' {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// short rounds a duration for a table.
func short(d inspect.Duration) string {
	t := time.Duration(d)
	switch {
	case t >= time.Minute || t <= -time.Minute:
		return t.Round(time.Second).String()
	case t >= time.Second || t <= -time.Second:
		return t.Round(100 * time.Millisecond).String()
	}
	return t.Round(time.Millisecond).String()
}

// table writes rows with aligned columns. The first row is the head.
func (a *app) table(rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// fields writes names and values, one per line. Fields without a value are left out. The further
// lines of a value are indented, so that a value can't look like another field.
func (a *app) fields(pairs ...string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", pairs[i], strings.ReplaceAll(pairs[i+1], "\n", "\n\t"))
		}
	}
	return w.Flush()
}

// print writes a value as JSON with --json, and with text otherwise.
func (a *app) print(value any, text func() error) error {
	if !a.json {
		return text()
	}
	return a.writeJSON(value)
}

func (a *app) writeJSON(value any) error { return encodeJSON(a.stdout, value, "  ") }

// encodeJSON writes a value as JSON in one write. Characters that could control a terminal are
// escaped: encoding/json does not escape U+0080 to U+009F and the marks of bidirectional text.
func encodeJSON(to io.Writer, value any, indent string) error {
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetIndent("", indent)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}

	safe := make([]byte, 0, plain.Len())
	for _, r := range plain.String() {
		switch {
		case unicode.IsPrint(r) && r != utf8.RuneError || r == '\n':
			safe = utf8.AppendRune(safe, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, high, low)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	_, err := to.Write(safe)
	return err
}

// done reports a repair.
func (a *app) done(changed int64, what string) error {
	return a.print(struct {
		Changed int64 `json:"changed"`
	}{changed}, func() error {
		_, err := fmt.Fprintf(a.stdout, "%s: %d\n", what, changed)
		return err
	})
}

// everyPage calls read for each page of a list, and returns all items, at most limit. It reports
// whether items are missing.
func everyPage[T any](limit int, read func(p inspect.Page) (inspect.List[T], error)) (items []T, more bool, err error) {
	items = []T{}
	for p := (inspect.Page{Limit: min(limit, 500)}); ; {
		list, err := read(p)
		if err != nil {
			return nil, false, err
		}
		items = append(items, list.Items...)
		if len(items) > limit {
			return items[:limit], true, nil
		}
		if p.Cursor = list.Next; p.Cursor == "" {
			return items, false, nil
		}
		if len(items) == limit {
			return items, true, nil
		}
	}
}

// moreItems says on standard error that a list was cut.
func (a *app) moreItems(more bool, limit int) {
	if more {
		fmt.Fprintf(a.stderr, "redstartctl: only the first %d are listed: raise --limit\n", limit)
	}
}

// problem says on standard error that a part of an answer is missing. An empty text says nothing.
func (a *app) problem(subject, text string) {
	if text != "" {
		fmt.Fprintf(a.stderr, "redstartctl: %s: %s\n", subject, printable(text))
	}
}

// log returns the log of repairs and of the connection: text on standard error.
func (a *app) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// dash stands for a field without a value in a table.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
