package endpoint_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/endpoint"
)

type ep = endpoint.Endpoint

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw  string
		want ep
		str  string // result of String(); "" means raw
	}{
		{"redis://localhost:6379/0", ep{Network: "tcp", Addrs: []string{"localhost:6379"}}, ""},
		{"redis://localhost", ep{Network: "tcp", Addrs: []string{"localhost:6379"}}, "redis://localhost:6379/0"},
		{"redis://", ep{Network: "tcp", Addrs: []string{"localhost:6379"}}, "redis://localhost:6379/0"},
		{"redis:///3", ep{Network: "tcp", Addrs: []string{"localhost:6379"}, DB: 3}, "redis://localhost:6379/3"},
		{"redis://:7000/", ep{Network: "tcp", Addrs: []string{"localhost:7000"}}, "redis://localhost:7000/0"},
		{"redis://h/?db=15", ep{Network: "tcp", Addrs: []string{"h:6379"}, DB: 15}, "redis://h:6379/15"},
		{"redis://h?db=15", ep{Network: "tcp", Addrs: []string{"h:6379"}, DB: 15}, "redis://h:6379/15"},
		{"REDIS://h", ep{Network: "tcp", Addrs: []string{"h:6379"}}, "redis://h:6379/0"},
		{"valkey://my_host.example", ep{Network: "tcp", Addrs: []string{"my_host.example:6379"}},
			"redis://my_host.example:6379/0"},
		{"rediss://h", ep{Network: "tcp", TLS: true, Addrs: []string{"h:6379"}}, "rediss://h:6379/0"},
		{"valkeys://h", ep{Network: "tcp", TLS: true, Addrs: []string{"h:6379"}}, "rediss://h:6379/0"},
		{"redis://user@h", ep{Network: "tcp", Username: "user", Addrs: []string{"h:6379"}}, "redis://user@h:6379/0"},
		{"redis://:pass@h", ep{Network: "tcp", Password: "pass", Addrs: []string{"h:6379"}}, "redis://:***@h:6379/0"},
		{"redis://user:p:ss@h", ep{Network: "tcp", Username: "user", Password: "p:ss",
			Addrs: []string{"h:6379"}}, "redis://user:***@h:6379/0"},
		{
			"redis://a%3Ab:p%2F%3F%23%40%25+%20@h:1",
			ep{Network: "tcp", Username: "a:b", Password: "p/?#@%+ ", Addrs: []string{"h:1"}}, "redis://a%3Ab:***@h:1/0",
		},
		{"redis://[::1]", ep{Network: "tcp", Addrs: []string{"[::1]:6379"}}, "redis://[::1]:6379/0"},
		{"redis://[::1]:7000/1", ep{Network: "tcp", Addrs: []string{"[::1]:7000"}, DB: 1}, ""},
		{"redis://[fe80::1%25eth0]:7000/1", ep{Network: "tcp", Addrs: []string{"[fe80::1%eth0]:7000"}, DB: 1}, ""},

		{"unix:///run/redis.sock", ep{Network: "unix", Addrs: []string{"/run/redis.sock"}}, ""},
		{"unix:///run/redis.sock?db=1", ep{Network: "unix", Addrs: []string{"/run/redis.sock"}, DB: 1}, ""},
		{"unix://user:pass@/run/a%20b.sock", ep{Network: "unix", Username: "user", Password: "pass",
			Addrs: []string{"/run/a b.sock"}}, "unix://user:***@/run/a%20b.sock"},

		{"redis+sentinel://h/mymaster", ep{Mode: endpoint.Sentinel, Network: "tcp",
			Addrs: []string{"h:26379"}, MasterSet: "mymaster"}, "redis+sentinel://h:26379/mymaster/0"},
		{
			"rediss+sentinel://u:p@a,b:1,[::1],[::2]:5/my%2Fmaster/2?sentinel_username=su&sentinel_password=s%40p",
			ep{
				Mode: endpoint.Sentinel, Network: "tcp", TLS: true, Username: "u", Password: "p", DB: 2, MasterSet: "my/master",
				Addrs: []string{"a:26379", "b:1", "[::1]:26379", "[::2]:5"}, SentinelUsername: "su", SentinelPassword: "s@p",
			},
			"rediss+sentinel://u:***@a:26379,b:1,[::1]:26379,[::2]:5/my%2Fmaster/2?sentinel_username=su&sentinel_password=***",
		},
		{"valkey+sentinel://h/m/?db=4", ep{Mode: endpoint.Sentinel, Network: "tcp",
			Addrs: []string{"h:26379"}, MasterSet: "m", DB: 4}, "redis+sentinel://h:26379/m/4"},

		{"redis+cluster://h", ep{Mode: endpoint.Cluster, Network: "tcp", Addrs: []string{"h:6379"}}, "redis+cluster://h:6379"},
		{
			"redis+cluster://[::1]:7000,[::1]:7001,[::1]:7002",
			ep{Mode: endpoint.Cluster, Network: "tcp",
				Addrs: []string{"[::1]:7000", "[::1]:7001", "[::1]:7002"}}, "",
		},
		{"valkeys+cluster://u:p@a:1,b:2/0", ep{Mode: endpoint.Cluster, Network: "tcp", TLS: true,
			Username: "u", Password: "p", Addrs: []string{"a:1", "b:2"}}, "rediss+cluster://u:***@a:1,b:2"},
	} {
		got, err := endpoint.Parse(tt.raw)
		if err != nil {
			t.Errorf("%s: %v", tt.raw, err)
			continue
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %#v\nwant %#v", tt.raw, got, tt.want)
		}
		want := tt.str
		if want == "" {
			want = tt.raw
		}
		if got.String() != want {
			t.Errorf("%s: String() = %s, want %s", tt.raw, got, want)
		}
		if again, err := endpoint.Parse(got.URL()); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%s: URL() = %s reads as %#v, %v", tt.raw, got.URL(), again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ raw, want string }{
		{"", "must begin with"},
		{"localhost:6379", "must begin with"},
		{"http://h", "must begin with"},
		{"unix+cluster:///s", "must begin with"},
		{"redis+replica://h", "must begin with"},
		{"redis+sentinel+cluster://h/m", "must begin with"},
		{"redis://h/x", "database"},
		{"redis://h/-1", "database"},
		{"redis://h/+1", "database"},
		{"redis://h/0/1", "database"},
		{"redis://h/99999999999", "database"},
		{"redis://h?db=", "database"},
		{"redis://h/1?db=1", "one of them"},
		{"redis://h/0?db=1", "one of them"},
		{"redis://h?db=1&db=2", `"db" is there twice`},
		{"redis://h?timeout=1", `unknown query parameter "timeout"`},
		{"redis://h?sentinel_password=1", `unknown query parameter "sentinel_password"`},
		{"redis://h?&", "(not shown)"},
		{"redis://h:0", "port"},
		{"redis://h:65536", "port"},
		{"redis://h:x", "port"},
		{"redis://h:", "port"},
		{"redis://h:+1", "port"},
		{"redis://::1", "brackets"},
		{"redis://[::1", "host"},
		{"redis://[::1]x", "host"},
		{"redis://[localhost]", "host"},
		{"redis://[127.0.0.1]", "host"},
		{"redis://[::1%2500 x]", "host"},
		{"redis://a b", "host"},
		{"redis://a,b", "several hosts"},
		{"redis+cluster://a,,b", "empty"},
		{"redis+cluster://a,", "empty"},
		{"redis+cluster://a/1", "only database 0"},
		{"redis+cluster://a?db=1", "only database 0"},
		{"redis+sentinel://a", "name of the master"},
		{"redis+sentinel://a//0", "name of the master"},
		{"unix://", "path of the socket"},
		{"unix:///", "path of the socket"},
		{"unix://run/redis.sock", "three slashes"},
		{"unix:///a%zz", "percent sign"},
		{"redis://h?db=%zz", "percent sign"},
		{"redis://u:p%zz@h", "percent-encoded"},
		{"redis://u%zz:p@h", "percent-encoded"},
		{"redis://u:p@x@h", "percent-encoded"},
		{"redis://u:p/x@h", "percent-encoded"},
		{"redis://u:p?x@h", "percent-encoded"},
		{"redis://u:1?x=y@h", "percent-encoded"},
		{"redis://u:p#x@h", "%23"},
		{"redis://h\n", "control character"},
		{"redis://\xff", "invalid UTF-8"},
	} {
		got, err := endpoint.Parse(tt.raw)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want an error with %q", tt.raw, err, tt.want)
		}
		if !reflect.DeepEqual(got, ep{}) {
			t.Errorf("%q: %#v with an error", tt.raw, got)
		}
	}
}

// No error and no String repeats a password, wherever the password breaks the URL.
func FuzzNoSecret(f *testing.F) {
	for _, s := range []string{"", "/", "?", "#", "@", "%", "%zz", ":", "[", ",", "&", "=", "?x=", "/0?db=",
		"\x00", "\xff", " "} {
		f.Add(s, s, "")
		f.Add(s, "", s)
		f.Add("", s, s)
	}
	f.Fuzz(func(t *testing.T, before, after, tail string) {
		const secret = "53cr3t" // digits, so that it may be a port; it is no parameter's name
		for _, scheme := range []string{"redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "http", ""} {
			for _, raw := range []string{
				fmt.Sprintf("%s://user:%s%s%s@host:6379/%s", scheme, before, secret, after, tail),
				fmt.Sprintf("%s://%s%s%s@host/%s", scheme, before, secret, after, tail),
				fmt.Sprintf("%s://user:%s%s%s", scheme, before, secret, after), // without the host
				fmt.Sprintf("%s://host/m/0?sentinel_password=%s%s%s", scheme, before, secret, after),
			} {
				e, err := endpoint.Parse(raw)
				if err != nil {
					if strings.Contains(err.Error(), secret) {
						t.Fatalf("%q: %v", raw, err)
					}
					continue
				}
				if strings.Contains(e.Password, secret) || strings.Contains(e.SentinelPassword, secret) {
					rest := e
					rest.Password, rest.SentinelPassword = "", ""
					if strings.Contains(e.String(), secret) && !strings.Contains(rest.String(), secret) {
						t.Fatalf("%q: String() = %s", raw, e)
					}
				}
			}
		}
	})
}

// URL writes each endpoint of Parse so that Parse reads the same.
func FuzzParse(f *testing.F) {
	for _, raw := range []string{
		"redis://localhost:6379/0", "rediss://u:p@[::1]:1/2", "unix://u:p@/a%20b?db=1",
		"redis+sentinel://u:p@a,b:1/m/0?sentinel_username=x&sentinel_password=y%2B+", "redis+cluster://[::1]:7000,[::1]:7001",
		"redis://[fe80::1%25eth0]", "://", "redis://%41", "redis://é/١",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		e, err := endpoint.Parse(raw)
		if err != nil {
			return
		}
		again, err := endpoint.Parse(e.URL())
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%q is %#v\nURL() %q is %#v, %v", raw, e, e.URL(), again, err)
		}
		if len(e.Addrs) == 0 || (e.Network != "tcp" && e.Network != "unix") {
			t.Fatalf("%q: %#v", raw, e)
		}
		if len(e.Password) > 3 && strings.Contains(e.String(), ":"+e.Password+"@") {
			t.Fatalf("%q: %s", raw, e)
		}
	})
}

func TestMode(t *testing.T) {
	t.Parallel()
	if got := fmt.Sprint(endpoint.Standalone, endpoint.Sentinel, endpoint.Cluster,
		endpoint.Mode(7)); got != "standalone sentinel cluster Mode(7)" {
		t.Error(got)
	}
}
