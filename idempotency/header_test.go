package idempotency_test

import (
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"

	"github.com/redstart-go/redstart/idempotency"
)

func TestKeyField(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`"8e03978e-40d5-43e8-bc93-6894a57f9324"`: "8e03978e-40d5-43e8-bc93-6894a57f9324",
		` "a" `:                                  "a",
		`"a b"`:                                  "a b",
		`"a\"b\\c"`:                              `a"b\c`,
		`"a";v=1`:                                "a",
		`"a" ; v="x"`:                            "a",
		strings.Repeat(`"`, 2):                   "",
		`"` + strings.Repeat("k", 255) + `"`:     strings.Repeat("k", 255),
		`"` + strings.Repeat("k", 256) + `"`:     "",
		`abc`:                                    "",
		`"abc`:                                   "",
		`"a", "b"`:                               "",
		`"a" "b"`:                                "",
		`"a\n"`:                                  "",
		"\"a\x01\"":                              "",
		"\"caf\xe9\"":                            "",
		`:YWJj:`:                                 "",
		`1`:                                      "",
		``:                                       "",
	} {
		got, present, err := idempotency.KeyOf([]string{line}, false)
		if got != want || !present || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	for line, want := range map[string]string{
		"8e03978e-40d5": "8e03978e-40d5", ` a `: "a", `"a"`: "a", `a=b/c+d`: "a=b/c+d",
		"a,b": "", "a b": "", `a"b`: "", "a;b": "", `a\b`: "", "caf\xe9": "", strings.Repeat("k", 256): "",
	} {
		if got, _, err := idempotency.KeyOf([]string{line}, true); got != want || (err == nil) != (want != "") {
			t.Errorf("unquoted %s: %q, %v, want %q", line, got, err, want)
		}
	}
	if _, present, err := idempotency.KeyOf(nil, false); present || err != nil {
		t.Errorf("no field: %v, %v", present, err)
	}
	if _, _, err := idempotency.KeyOf([]string{`"a"`, `"a"`}, false); err == nil {
		t.Error("two fields are accepted")
	}
}

// The parser accepts each String that a complete parser of RFC 9651 accepts, with the same value.
// It accepts no other value.
func FuzzKeyField(f *testing.F) {
	for _, line := range []string{`"a"`, `"a\"b"`, `"a";b;c=1`, `"a`, `a`, `"a" x`, "\"\x7f\"", `  "a"  `} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got, _, err := idempotency.KeyOf([]string{line}, false)
		item, oracleErr := httpsfv.UnmarshalItem([]string{line})
		value, isString := item.Value.(string)
		switch {
		case oracleErr == nil && isString && value != "" && len(value) <= 255:
			if err != nil || got != value {
				t.Errorf("%q: %q, %v, want %q", line, got, err, value)
			}
		case err == nil && !strings.Contains(line, ";"): // parameters are ignored, also malformed ones
			t.Errorf("%q: %q is accepted; the complete parser: %v, %v", line, got, item.Value, oracleErr)
		}
	})
}
