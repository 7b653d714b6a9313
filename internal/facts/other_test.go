package facts_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/facts"
)

// The texts are excerpts of INFO in the form that each server prints: Dragonfly 1.40 and Kvrocks
// print their own version next to a redis_version, Garnet prints its own version, and KeyDB 6.3
// prints a section with mvcc_depth. None of these servers ran in this project's tests.
func TestOtherServers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		info string
		want facts.Capabilities
		text string
	}{
		"dragonfly": {"# Server\r\nredis_version:7.4.0\r\ndragonfly_version:df-v1.40.1\r\ntcp_port:6379\r\n",
			facts.Capabilities{Server: "dragonfly", Version: "df-v1.40.1"}, "dragonfly df-v1.40.1"},
		"kvrocks": {"# Server\r\nversion:2.8.0\r\nkvrocks_version:2.8.0\r\nredis_version:4.0.0\r\n",
			facts.Capabilities{Server: "kvrocks", Version: "2.8.0"}, "kvrocks 2.8.0"},
		"garnet": {"# Server\r\ngarnet_version:1.0.63\r\nos:Unix 6.1\r\n",
			facts.Capabilities{Server: "garnet", Version: "1.0.63"}, "garnet 1.0.63"},
		"keydb": {"# Server\r\nredis_version:6.3.4\r\nexecutable:/data/keydb-server\r\n# KeyDB\r\nmvcc_depth:0\r\n",
			facts.Capabilities{Server: "keydb", Version: "6.3.4"}, "keydb 6.3.4"},
		"keydb without its section": {"redis_version:6.3.4\r\nexecutable:/usr/bin/keydb-server\r\n",
			facts.Capabilities{Server: "keydb", Version: "6.3.4"}, "keydb 6.3.4"},
		"no name": {"# Server\r\nuptime_in_seconds:3\r\n", facts.Capabilities{Server: "unknown"}, "the server is unknown,"},
	} {
		got, _ := facts.Parse(test.info)
		if got.Capabilities != test.want {
			t.Errorf("%s: %+v, want %+v", name, got.Capabilities, test.want)
		}
		if len(got.Warnings) != 1 || got.Warnings[0].Code != "server" || !strings.Contains(got.Warnings[0].Text, test.text) {
			t.Errorf("%s: warnings %v, want one with the code server that names %q", name, got.Warnings, test.text)
		}
	}
}

// A server that refuses INFO is known from HELLO, or not at all.
func TestFromHello(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		server, version string
		want            facts.Capabilities
		codes           []string
	}{
		"redis": {"redis", "7.2.1",
			facts.Capabilities{Server: "redis", Version: "7.2.1", ShardedPubSub: true, WaitAOF: true}, []string{"info"}},
		"old": {"redis", "6.2.0", facts.Capabilities{Server: "redis", Version: "6.2.0"}, []string{"version", "info"}},
		"valkey": {"valkey", "8.1.0",
			facts.Capabilities{Server: "valkey", Version: "8.1.0", ShardedPubSub: true, WaitAOF: true, SetIfEqual: true},
			[]string{"info"}},
		"other":  {"garnet", "1.0", facts.Capabilities{Server: "unknown"}, []string{"server", "info"}},
		"silent": {"", "", facts.Capabilities{Server: "unknown"}, []string{"server", "info"}},
	} {
		got := facts.FromHello(test.server, test.version)
		var codes []string
		for _, w := range got.Warnings {
			codes = append(codes, w.Code)
		}
		if got.Capabilities != test.want || !slices.Equal(codes, test.codes) {
			t.Errorf("%s: %+v %v, want %+v %v", name, got.Capabilities, codes, test.want, test.codes)
		}
	}
}
