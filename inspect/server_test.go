package inspect_test

import (
	"errors"
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
	server, looks, _ := shippedUsers(t)
	conn := server.Conn(t)
	conn.CLI("ACL", "SETUSER", "good", "on", ">x", "~app:*", "&app:*", "+@all", "-@admin")
	conn.CLI("ACL", "SETUSER", "poor", "on", ">x", "~app:*", "&app:*", "+@all", "-xadd", "-xack", "-acl")
	conn.CLI("ACL", "SETUSER", "silent", "on", ">x", "~app:*", "&app:*", "+@all", "-acl")

	for user, want := range map[string]string{"good": "", "poor": "warning rights", "": "note rights"} {
		in, err := inspect.New(open(t, looks, "app"), inspect.Options{ReadOnly: true, ServiceUser: user})
		must(t, err)
		findings, err := in.Doctor(t.Context())
		must(t, err)
		got := slices.DeleteFunc(findings, func(f inspect.Finding) bool { return f.Code != "rights" })
		if strings.Join(codes(got), ", ") != want {
			t.Errorf("user %q: %+v", user, got)
		}
		if user == "poor" && (len(got) != 2 || !strings.Contains(got[0].What, "XADD, XACK")) {
			t.Errorf("user %q: %+v", user, got)
		}
	}
	u, err := url.Parse(looks)
	must(t, err)
	u.User = url.UserPassword("silent", "x")
	findings, err := newInspector(t, open(t, u.String(), "app")).Doctor(t.Context())
	must(t, err)
	if got := codes(findings); !slices.Contains(got, "note rights") {
		t.Errorf("a user that may not ask: %v", got)
	}
}
