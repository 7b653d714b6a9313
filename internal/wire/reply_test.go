package wire_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/wire"
)

// one decodes a single reply.
func one(t *testing.T, data string) *wire.Reply {
	t.Helper()
	d := wire.NewDecoder(1 << 10)
	if err := d.Fill(strings.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	reply, _, err := d.Next()
	if err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	return &reply
}

// accessors are the methods of a reply, with their results as text.
var accessors = map[string]func(r *wire.Reply) (string, error){
	"ToString":   func(r *wire.Reply) (string, error) { return r.ToString() },
	"AsBytes":    func(r *wire.Reply) (string, error) { b, err := r.AsBytes(); return string(b), err },
	"ToInt64":    func(r *wire.Reply) (string, error) { n, err := r.ToInt64(); return fmt.Sprint(n), err },
	"AsInt64":    func(r *wire.Reply) (string, error) { n, err := r.AsInt64(); return fmt.Sprint(n), err },
	"ToArray":    func(r *wire.Reply) (string, error) { all, err := r.ToArray(); return fmt.Sprint(len(all)), err },
	"ToTuple":    func(r *wire.Reply) (string, error) { all, err := r.ToTuple(2); return fmt.Sprint(len(all)), err },
	"AsStrSlice": func(r *wire.Reply) (string, error) { all, err := r.AsStrSlice(); return fmt.Sprintf("%q", all), err },
	"AsIntSlice": func(r *wire.Reply) (string, error) { all, err := r.AsIntSlice(); return fmt.Sprint(all), err },
	"AsMap": func(r *wire.Reply) (string, error) {
		m, err := r.AsMap()
		return fmt.Sprint(slices.Sorted(maps.Keys(m))), err
	},
	"AsXRange":  func(r *wire.Reply) (string, error) { all, err := r.AsXRange(); return fmt.Sprint(all), err },
	"AsZScores": func(r *wire.Reply) (string, error) { all, err := r.AsZScores(); return fmt.Sprint(all), err },
}

// Each method accepts the replies that servers send for it, and returns ErrCorrupt for all others.
func TestAccessorsRefuseOtherTypes(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]map[string]string{
		"_\r\n":        {},
		":7\r\n":       {"ToInt64": "7", "AsInt64": "7"},
		"+text\r\n":    {"ToString": "text", "AsBytes": "text"},
		"$2\r\n12\r\n": {"ToString": "12", "AsBytes": "12", "AsInt64": "12"},
		"*1\r\n:1\r\n": {"ToArray": "1", "AsStrSlice": `["1"]`, "AsIntSlice": "[1]"},
		"*0\r\n": {"ToArray": "0", "AsStrSlice": "[]", "AsIntSlice": "[]", "AsMap": "[]",
			"AsXRange": "[]", "AsZScores": "[]"},
		"*1\r\n_\r\n":       {"ToArray": "1", "AsStrSlice": `[""]`},
		"*1\r\n*0\r\n":      {"ToArray": "1", "AsZScores": "[]"},
		"%1\r\n+a\r\n_\r\n": {"AsMap": "[a]"},
		"*2\r\n+a\r\n+1.5\r\n": {
			"ToArray": "2", "ToTuple": "2", "AsStrSlice": `["a" "1.5"]`, "AsMap": "[a]", "AsZScores": "[{a 1.5}]",
		},
		"*1\r\n*2\r\n+a\r\n,2\r\n":               {"ToArray": "1", "AsZScores": "[{a 2}]"},
		"*1\r\n*2\r\n+1-1\r\n*2\r\n+f\r\n+v\r\n": {"ToArray": "1", "AsXRange": "[{1-1 map[f:v]}]"},
		"*2\r\n*2\r\n+1-1\r\n*-1\r\n*2\r\n+1-2\r\n*0\r\n": {"ToArray": "2", "ToTuple": "2",
			"AsXRange": "[{1-1 map[]} {1-2 map[]}]"},
		"*1\r\n*2\r\n+1-1\r\n*1\r\n+f\r\n":                {"ToArray": "1"},
		"*1\r\n*3\r\n+1-1\r\n*2\r\n+f\r\n+v\r\n+more\r\n": {"ToArray": "1"},
		"*2\r\n:1\r\n+x\r\n":                              {"ToArray": "2", "ToTuple": "2", "AsStrSlice": `["1" "x"]`},
		"*3\r\n+a\r\n+1\r\n+b\r\n":                        {"ToArray": "3", "AsStrSlice": `["a" "1" "b"]`},
	} {
		for name, get := range accessors {
			got, err := get(one(t, data))
			text, takes := want[name]
			switch {
			case takes && (got != text || err != nil):
				t.Errorf("%s of %q: %s, %v, want %s", name, data, got, err, text)
			case !takes && !errors.Is(err, fault.ErrCorrupt):
				t.Errorf("%s of %q: %s, %v, want ErrCorrupt", name, data, got, err)
			}
		}
	}
}

// An error within a list keeps its class, for every method.
func TestAccessorsReturnTheServersError(t *testing.T) {
	t.Parallel()
	denied := "-NOPERM no permission\r\n"
	for name, get := range accessors {
		if _, err := get(one(t, denied)); !errors.Is(err, fault.ErrDenied) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
	}
	r := one(t, "*2\r\n:1\r\n"+denied)
	for _, name := range []string{"AsStrSlice", "AsIntSlice"} {
		if _, err := accessors[name](r); !errors.Is(err, fault.ErrDenied) {
			t.Errorf("%s of an array: %v, want ErrDenied", name, err)
		}
	}
	if err := r.Err(); err != nil {
		t.Errorf("the array itself is no error: %v", err)
	}
}

// The description of a reply shows no text, because text may be a secret.
func TestStringShowsNoText(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"_\r\n": "nil", ":3\r\n": "3", "+secret\r\n": "text of 6 bytes",
		"*1\r\n+secret\r\n": "an array of 1 replies", "-ERR secret\r\n": "an error",
	} {
		if got := one(t, data).String(); got != want {
			t.Errorf("%q is described as %q, want %q", data, got, want)
		}
	}
	if small, large := one(t, "*1\r\n+a\r\n").Size(), one(t, "*2\r\n+a\r\n+bcd\r\n").Size(); small >= large || large > 100 {
		t.Errorf("sizes %d and %d", small, large)
	}
}
