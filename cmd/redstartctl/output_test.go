package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/redstart-go/redstart/inspect"
)

// hostile has the characters that control terminals: ESC, C1 controls in UTF-8 and as a byte, the
// override of bidirectional text, a tag of plane 14, and line ends.
const hostile = "a\x1b]0;x\x07\u009b2J\x9b\u202eb\u2028\U000e0041\r\nfix: \tnone"

// controls returns the characters of an output that are not printable, without line feeds.
func controls(text string) (found []rune) {
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			found = append(found, r)
		}
	}
	return found
}

// No form of output can control the terminal, begin a row, or look like another field.
func TestOutputCantControlTheTerminal(t *testing.T) {
	t.Parallel()
	lock := inspect.Lock{LockID: inspect.LockID{Name: hostile, Kind: inspect.Mutex, Group: hostile}, Held: 1, Problem: hostile,
		Holders: []inspect.LockHolder{{Process: hostile, ID: hostile}}}
	group := inspect.GroupInfo{Name: hostile, Problem: hostile}
	for name, write := range map[string]func(a *app) error{
		"table":  func(a *app) error { return a.table(lockRows([]inspect.Lock{lock})) },
		"fields": func(a *app) error { return a.fields("cause", lines(hostile)) },
		"groups": func(a *app) error { return a.table([][]string{{"GROUP"}, groupRow(&group)}) },
		"finding": func(a *app) error {
			return a.showFindings([]inspect.Finding{{Severity: "note", Subject: hostile, What: hostile, Fix: hostile}})
		},
		"json": func(a *app) error { return a.writeJSON(lock) },
		"event": func(a *app) error {
			return a.tailLine(&inspect.EventInfo{Channel: hostile, Type: hostile, Problem: hostile})
		},
		"error": func(a *app) error { a.problem("group", hostile); return nil },
	} {
		for _, asJSON := range []bool{false, true} {
			var out bytes.Buffer
			if err := write(&app{stdout: &out, stderr: &out, json: asJSON}); err != nil {
				t.Fatal(err)
			}
			if found := controls(out.String()); len(found) > 0 || out.Len() == 0 {
				t.Errorf("%s: %q has %q", name, out.String(), found)
			}
			for line := range strings.Lines(out.String()) {
				if strings.HasPrefix(line, "fix:") {
					t.Errorf("%s: a value begins a line: %q", name, out.String())
				}
			}
		}
	}
}

// The escapes of JSON change no value.
func TestJSONKeepsItsValue(t *testing.T) {
	t.Parallel()
	want := inspect.Lock{LockID: inspect.LockID{Name: strings.ToValidUTF8(hostile, "?") + "é<&>\ufffd😀", Kind: inspect.Mutex},
		Holders: []inspect.LockHolder{}, Waiters: []inspect.LockWaiter{}}
	var out bytes.Buffer
	if err := (&app{stdout: &out}).writeJSON(want); err != nil {
		t.Fatal(err)
	}
	var got inspect.Lock
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %+v, want %+v", err, got, want)
	}
	if text := out.String(); !strings.Contains(text, "é<&>") || !strings.Contains(text, "😀") {
		t.Errorf("readable characters are escaped: %s", text)
	}
}
