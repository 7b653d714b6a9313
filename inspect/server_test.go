package inspect_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

// Server has the state of each primary, on each engine.
func TestServerHasEachPrimary(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		in := newInspector(t, open(t, e.URL, e.Namespace))
		s, err := in.Server(t.Context())
		must(t, err)
		want, mode := 1, map[string]string{"cluster": "cluster", "sentinel": "sentinel"}[e.Name]
		switch mode {
		case "":
			mode = "standalone"
		case "cluster":
			want = len(e.Cluster.Primaries())
		}
		if len(s.Nodes) != want || s.Mode != mode || s.Kind == "" || s.Version == "" {
			t.Fatalf("%+v, want %d nodes and mode %s", s, want, mode)
		}
		for _, n := range s.Nodes {
			if n.Problem != "" || n.Addr == "" || n.Breaker != "closed" || n.LatencyP50 <= 0 || n.LatencyP99 < n.LatencyP50 {
				t.Errorf("%+v", n)
			}
			skew := time.Duration(n.ClockSkew)
			if e.Name == "sentinel" && n.Replicas == 0 {
				t.Errorf("no replica is shown: %+v", n)
			}
			if e.Name != "embedded" && (skew.Abs() > time.Minute || n.Role != "master" || n.UsedMemory == 0) {
				t.Errorf("%+v", n)
			}
		}
		if strings.HasPrefix(e.Name, "acl") {
			return // these users may not ask for rights, which the test harness reports
		}
		if _, err := in.Doctor(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func codes(findings []inspect.Finding) (all []string) {
	for _, f := range findings {
		all = append(all, string(f.Severity)+" "+f.Code)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Doctor finds a full memory, failed saves, and a missing append-only file, and names each fix.
func TestDoctorFindsConditions(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s := rig.Standalone(t)
	in := newInspector(t, open(t, s.URL(), "app"))
	before, err := in.Doctor(t.Context())
	must(t, err)
	if slices.Contains(codes(before), "warning memory") {
		t.Fatalf("before: %+v", before)
	}
	s.CLI("CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", "allkeys-lru")
	findings, err := newInspector(t, open(t, s.URL(), "app")).Doctor(t.Context())
	must(t, err)
	for _, want := range []string{"warning memory", "warning eviction", "warning persistence"} {
		if !slices.Contains(codes(findings), want) {
			t.Errorf("%s is not in %v", want, codes(findings))
		}
	}
	for _, f := range findings {
		if f.Fix == "" || f.What == "" || f.Subject == "" {
			t.Errorf("%+v", f)
		}
	}
}

// Doctor judges each fact of a node. The control is a node without a finding.
func TestDoctorJudgesANode(t *testing.T) {
	t.Parallel()
	const healthy = "role:master\r\nredis_version:8.0.1\r\nuptime_in_seconds:60\r\nused_memory:100\r\nmaxmemory:1000\r\n" +
		"maxmemory_policy:noeviction\r\naof_enabled:1\r\nconnected_slaves:1\r\nrdb_last_bgsave_status:ok\r\naof_last_write_status:ok\r\n"
	for _, one := range []struct {
		info, mode, want string
		change           func(n *inspect.Node)
	}{
		{healthy, "sentinel", "", func(*inspect.Node) {}},
		{healthy + "connected_slaves:0", "standalone", "", func(*inspect.Node) {}},
		{healthy + "connected_slaves:0", "cluster", "warning replicas", func(*inspect.Node) {}},
		{healthy + "rdb_last_bgsave_status:err", "sentinel", "error saves", func(*inspect.Node) {}},
		{healthy + "aof_last_write_status:err", "sentinel", "error saves", func(*inspect.Node) {}},
		{healthy + "used_memory:901", "sentinel", "warning memory", func(*inspect.Node) {}},
		{healthy + "used_memory:901\r\nmaxmemory:0", "sentinel", "", func(*inspect.Node) {}},
		{healthy, "sentinel", "error breaker", func(n *inspect.Node) { n.Breaker = "open" }},
		{healthy, "sentinel", "error unreachable", func(n *inspect.Node) { n.Problem = "refused" }},
		{healthy, "sentinel", "warning clock", func(n *inspect.Node) { n.ClockSkew = inspect.Duration(-time.Second) }},
		{healthy, "sentinel", "warning clock", func(n *inspect.Node) { n.ClockSkew = inspect.Duration(time.Second) }},
		{healthy, "sentinel", "warning latency", func(n *inspect.Node) { n.LatencyP99 = inspect.Duration(time.Second) }},
	} {
		n := inspect.NodeOf(one.info)
		one.change(&n)
		findings := inspect.FindingsOf(&n, one.mode)
		if got := strings.Join(codes(findings), ", "); got != one.want {
			t.Errorf("%+v in mode %s: %q, want %q", n, one.mode, got, one.want)
		}
		for _, f := range findings {
			if f.Subject != "node:1" || f.Fix == "" || f.What == "" {
				t.Errorf("%+v", f)
			}
		}
	}
	n := inspect.NodeOf(healthy)
	want := inspect.Node{Addr: "node:1", Breaker: "closed", Role: "master", Version: "8.0.1", Uptime: inspect.Duration(time.Minute),
		UsedMemory: 100, MaxMemory: 1000, Policy: "noeviction", AppendOnly: true, Replicas: 1}
	if n != want {
		t.Errorf("%+v, want %+v", n, want)
	}
	if n := inspect.NodeOf("valkey_version:8.1.0\r\nredis_version:7.2.4"); n.Version != "8.1.0" {
		t.Errorf("the version of Valkey is %s", n.Version)
	}
}

// A client that gets no pushes of the server is one finding.
func TestDoctorFindsMissingTracking(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server, looks, _ := shippedUsers(t)
	for user, want := range map[string]bool{"deaf": true, "all": false} {
		rules := []string{"ACL", "SETUSER", user, "on", ">x", "~app:*", "&app:*", "+@all"}
		if want {
			rules = append(rules, "-client|tracking")
		}
		server.Conn(t).CLI(rules...)
		findings, err := newInspector(t, open(t, userOf(t, looks, user), "app")).Doctor(t.Context())
		must(t, err)
		found := slices.DeleteFunc(findings, func(f inspect.Finding) bool { return f.Code != "tracking" })
		if len(found) == 1 != want || len(found) > 1 {
			t.Errorf("user %s: %+v", user, found)
		}
	}
}

// A server that does not answer is an error, so that a program does not take it for a good result.
func TestDoctorCannotLook(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s := rig.Standalone(t)
	in := newInspector(t, open(t, s.URL(), "app", func(cfg *redstart.Config) { cfg.CommandTimeout = 300 * time.Millisecond }))
	s.Kill()
	findings, err := in.Doctor(t.Context())
	if !errors.Is(err, redstart.ErrUnavailable) || !slices.Contains(codes(findings), "error unreachable") {
		t.Errorf("%v, %v", codes(findings), err)
	}
}

// The rights of the services' user are checked per pattern. The users of the tools are no users of
// services, and a user without rights to ask gets a note.
func TestDoctorChecksRights(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server, looks, repairs := shippedUsers(t)
	conn := server.Conn(t)
	conn.CLI("ACL", "SETUSER", "good", "on", ">x", "~app:*", "&app:*", "+@all", "-@admin")
	conn.CLI("ACL", "SETUSER", "poor", "on", ">x", "~app:*", "&app:*", "+@all", "-xadd", "-xack", "-acl")
	conn.CLI("ACL", "SETUSER", "silent", "on", ">x", "~app:*", "&app:*", "+@all", "-acl")
	conn.CLI("ACL", "SETUSER", "all", "on", ">x", "~app:*", "&app:*", "+@all")
	conn.CLI("ACL", "SETUSER", "noxadd", "on", ">x", "~app:*", "&app:*", "+@all", "-xadd")
	conn.CLI("ACL", "SETUSER", "nohmget", "on", ">x", "~app:*", "&app:*", "+@all", "-hmget")

	const tool = "note rights: all patterns"
	for _, one := range []struct {
		connected, service string
		want               []string // severity, code and subject
	}{
		{looks, "good", nil},
		{looks, "poor", []string{"warning rights: events", "warning rights: ratelimit"}},
		{looks, "missing", []string{"warning rights: all patterns"}},
		{looks, "", []string{tool}},
		{repairs, "", []string{tool}},
		{userOf(t, looks, "all"), "", nil},
		{userOf(t, looks, "noxadd"), "", []string{"warning rights: events", "warning rights: ratelimit"}},
		{userOf(t, looks, "nohmget"), "", []string{"warning rights: idempotency"}},
		{userOf(t, looks, "silent"), "", []string{tool}},
	} {
		in, err := inspect.New(open(t, one.connected, "app"), inspect.Options{ReadOnly: true, ServiceUser: one.service})
		must(t, err)
		findings, err := in.Doctor(t.Context())
		must(t, err)
		var got []string
		for _, f := range findings {
			if f.Code == "rights" {
				got = append(got, fmt.Sprintf("%s %s: %s", f.Severity, f.Code, f.Subject))
			}
			if f.Subject == "events" && one.service == "poor" && !strings.Contains(f.What, "XADD, XACK") {
				t.Errorf("user poor: %+v", f)
			}
		}
		if !slices.Equal(got, one.want) {
			t.Errorf("service user %q, connected as %s: %v, want %v", one.service, one.connected, got, one.want)
		}
	}
}

// userOf returns a URL with another user, whose password is x.
func userOf(t *testing.T, address, user string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	u.User = url.UserPassword(user, "x")
	return u.String()
}
