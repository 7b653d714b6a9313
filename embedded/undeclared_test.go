package embedded_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/script"
)

// The server records the first key that a script touches outside of KEYS, whatever the position of
// the key in the command.
func TestScriptsKeysAreRecorded(t *testing.T) {
	t.Parallel()
	scripts := &script.Recorder{}
	server, err := embedded.Start(script.WithRecorder(t.Context(), scripts), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	want := map[string]string{}
	eval := func(keys int, command, undeclared string) {
		source := "return redis.pcall(" + command + ")"
		args := []string{source, fmt.Sprint(keys)}
		for i := range keys {
			args = append(args, fmt.Sprint("k", i+1))
		}
		if err := client.Do(t.Context(), client.B().Arbitrary("EVAL").Args(args...).Build()).Error(); err != nil && !replied(err) {
			t.Fatal(source, err)
		}
		if undeclared != "" {
			want[source] = undeclared
		}
	}
	for command, undeclared := range map[string]string{
		"'GET', KEYS[1]":                                "",
		"'GET', 'k' .. 1":                               "",
		"'TIME'":                                        "",
		"'PUBLISH', KEYS[1] .. ':gone', 'x'":            "",
		"'GET', KEYS[1] .. 'x'":                         "k1x",
		"'DEL', KEYS[1], 'd'":                           "d",
		"'MSET', KEYS[1], 'v', 'm', 'v'":                "m",
		"'RENAME', KEYS[1], 'r'":                        "r",
		"'XGROUP', 'CREATE', 's', 'g', '0', 'MKSTREAM'": "s",
		"'XINFO', 'STREAM', 'i'":                        "i",
		"'XREADGROUP', 'GROUP', 'g', 'c', 'COUNT', '1', 'STREAMS', 'a', '>'":     "a",
		"'XREADGROUP', 'GROUP', 'a', 'c', 'COUNT', '1', 'STREAMS', KEYS[1], '>'": "",
		"'XREAD', 'COUNT', '1', 'STREAMS', KEYS[1], 'b', '0', '0'":               "b",
		"'SUNION', KEYS[1], 'u'":                "u",
		"'LMOVE', KEYS[1], 'l', 'LEFT', 'LEFT'": "l",
		"'EXISTS', 'e'":                         "e",
		"'ZRANGE', 'z', '0', '-1'":              "z",
		"'SET', '" + strings.Repeat("k", 100) + "', 'v', 'PX', '1000'": strings.Repeat("k", 100),
	} {
		eval(1, command, undeclared)
	}
	eval(100, "'MGET', unpack(KEYS)", "")
	eval(99, "'MGET', 'k100', unpack(KEYS)", "k100")

	if got := scripts.Undeclared(); !maps.Equal(got, want) {
		t.Errorf("recorded %q\nwant %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		for source, key := range want {
			if got[source] != key {
				t.Errorf("%s: key %q, want %q", source, got[source], key)
			}
		}
	}
}

// replied reports whether an error is a reply of the server.
func replied(err error) bool {
	_, is := rueidis.IsRedisErr(err)
	return is || rueidis.IsRedisNil(err)
}
