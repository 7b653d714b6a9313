package console_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart/console"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

// examined waits until a page has a text, and returns the page.
func (s *site) examined(path, text string) answer {
	s.t.Helper()
	var got answer
	rig.Eventually(s.t, 20*time.Second, path+" has "+text, func() bool {
		got = s.get(path)
		return strings.Contains(got.body, text)
	})
	return got
}

// The overview shows each finding of Doctor: how urgent it is, what it is, and its fix. The page
// Server shows what each primary reports.
func TestPagesShowFindingsWithTheirFix(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server := rig.Standalone(t)
	server.CLI("CONFIG", "SET", "maxmemory", "1mb", "maxmemory-policy", "noeviction", "appendonly", "yes")
	server.CLI("ACL", "SETUSER", "poor", "on", ">x", "~app:*", "&app:*", "+@all", "-xack")
	s := serve(t, open(t, server.URLAs("poor", "x"), "app"), console.Options{Authorize: as(console.Viewer)})

	for _, path := range []string{"/", "/server"} {
		s.examined(path, "of memory are used").expect(t, path,
			`aria-label="warning"`, "raise maxmemory, or store less", "<code>memory</code>", server.Addr(),
			"may not use XACK", "give the user the rules of deploy/acl/redstart.acl", "Examined at ")
	}
	s.examined("/server", "append-only file").expect(t, "/server",
		"<dt>Mode</dt><dd>standalone</dd>", " of 1 MiB", "noeviction", "PING p99", "Clock skew", "Replicas",
		"Client tracking")
	if body := s.get("/server").body; strings.Contains(body, "snapshots only") {
		t.Error("a server with an append-only file has snapshots only")
	}
}

// The pages have as many findings as Doctor returns, at most a budget of them, each with the mark
// of its severity. Without a finding, they say that there is none.
func TestOverviewHasTheNumberOfFindings(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	var many []inspect.Finding
	for i := range console.MaxFindings + 3 {
		many = append(many, inspect.Finding{Severity: inspect.SeverityNote, Code: fmt.Sprint("code-", i), What: "what", Fix: "fix"})
	}
	for _, c := range []struct {
		name   string
		found  []inspect.Finding
		rows   int
		has    []string
		hasNot []string
	}{
		{"none", nil, 0, []string{"No finding:", `aria-label="good"`}, []string{"more finding"}},
		{
			"one of each severity",
			[]inspect.Finding{
				{Severity: inspect.SeverityError, Code: "unreachable", Subject: hostile, What: "what " + hostile, Fix: "fix " + hostile},
				{Severity: inspect.SeverityWarning, Code: "memory"}, {Severity: inspect.SeverityNote, Code: "checked"},
			}, 3,
			[]string{
				`aria-label="critical"`, `aria-label="warning"`, `aria-label="note"`, "what " + shownHostile, "fix " + shownHostile,
				"error <code>unreachable</code>", "warning <code>memory</code>", "note <code>checked</code>",
			},
			[]string{"No finding:", "more finding", "<script>alert"},
		},
		{"more than the budget", many, console.MaxFindings, []string{"3 more findings are not shown", "code-99<"}, []string{"code-100<"}},
	} {
		s := serve(t, client, console.Options{})
		s.con.Find(c.found)
		for _, path := range []string{"/", "/server"} {
			part := s.examined(path, "Examined at ").part("findings")
			if rows := strings.Count(part, "<li>"); rows != c.rows {
				t.Errorf("%s: %s has %d findings, want %d", c.name, path, rows, c.rows)
			}
			for _, text := range c.has {
				if !strings.Contains(part, text) {
					t.Errorf("%s: %s has no %q:\n%s", c.name, path, text, part)
				}
			}
			for _, text := range c.hasNot {
				if strings.Contains(part, text) {
					t.Errorf("%s: %s has %q:\n%s", c.name, path, text, part)
				}
			}
		}
	}
}

// All viewers of all pages share one examination, whatever their roles and pages are. A page does
// not wait for its end.
func TestViewersShareTheExamination(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	var role atomic.Uint32
	s := serve(t, client, console.Options{
		Authorize: func(*http.Request) (console.Role, error) { return console.Role(1 + role.Add(1)%2), nil },
	})
	release := make(chan struct{})
	var doctors, nodes atomic.Int64
	s.con.OnExamine(func(ctx context.Context, name string) {
		if name == "doctor" {
			doctors.Add(1)
		} else {
			nodes.Add(1)
		}
		select {
		case <-release:
		case <-ctx.Done(): // the limit of an examination
		}
	})

	var viewers sync.WaitGroup
	for i := range 20 {
		viewers.Go(func() {
			path := []string{"/", "/server"}[i%2]
			s.get(path).expect(t, path, "The first reading is not finished.")
		})
	}
	viewers.Wait()
	if d, n := doctors.Load(), nodes.Load(); d != 1 || n != 1 {
		t.Errorf("20 viewers caused %d readings of Doctor and %d of the nodes, want 1 of each", d, n)
	}
	close(release)
	s.examined("/", "Examined at ")
	s.examined("/server", "Read at ")
	if d, n := doctors.Load(), nodes.Load(); d != 1 || n != 1 {
		t.Errorf("after the first reading there were %d of Doctor and %d of the nodes, want 1 of each", d, n)
	}
}

// Close ends an examination that runs.
func TestCloseEndsTheExamination(t *testing.T) {
	t.Parallel()
	s := serve(t, open(t, rig.Embedded(t).URL(), "app"), console.Options{})
	began, ended := make(chan struct{}), make(chan struct{})
	s.con.OnExamine(func(ctx context.Context, name string) {
		if name == "doctor" {
			close(began)
			<-ctx.Done()
			close(ended)
		}
	})
	s.get("/").expect(t, "/", "The first reading is not finished.")
	<-began
	must(0, s.con.Close())(t)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the examination continues after Close")
	}
}
