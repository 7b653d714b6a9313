package rig

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/script"
)

// Engine is one kind of server that a behaviour suite runs on.
type Engine struct {
	Name      string // "embedded", "standalone", "cluster", "sentinel", "acl", "acl-scan", "valkey"
	URL       string
	Namespace string // of this subtest; the ACL users may use no other

	Server   *Server          // standalone, acl, acl-scan, valkey; shared
	Cluster  *Cluster         // cluster; shared
	Sentinel *Sentinel        // sentinel; shared
	Embedded *embedded.Server // embedded; of this subtest, which may call Advance
}

// Engines runs suite as one subtest per engine of the tier:
//
//   - TierQuick: the embedded engine;
//   - TierServer: also a standalone server and a cluster;
//   - TierAll: also Sentinel, the standalone server as each of the two shipped ACL users, and
//     Valkey if valkey-server is on PATH.
//
// The real servers are shared. The subtests are parallel and run after the body of the calling test
// has returned. So the body cleans up with t.Cleanup, not with defer.
func Engines(t *testing.T, suite func(t *testing.T, e Engine)) {
	t.Helper()
	run := func(name string, start func(t *testing.T, e *Engine)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := Engine{Name: name, Namespace: Prefix(t)}
			start(t, &e)
			suite(t, e)
		})
	}
	run("embedded", func(t *testing.T, e *Engine) {
		e.Embedded = Embedded(t)
		e.URL = e.Embedded.URL()
	})
	if !Includes(TierServer) {
		return
	}
	run("standalone", func(t *testing.T, e *Engine) {
		e.Server = Shared(t)
		e.URL = e.Server.URL()
	})
	run("cluster", func(t *testing.T, e *Engine) {
		e.Cluster = SharedCluster(t)
		e.URL = e.Cluster.URL()
	})
	if !Includes(TierAll) {
		return
	}
	run("sentinel", func(t *testing.T, e *Engine) {
		e.Sentinel = SharedSentinel(t)
		e.URL = e.Sentinel.URL()
	})
	run("acl", func(t *testing.T, e *Engine) {
		e.Server = Shared(t)
		e.URL = e.Server.URLAs("redstart", password)
	})
	run("acl-scan", func(t *testing.T, e *Engine) {
		e.Server = Shared(t)
		e.URL = e.Server.URLAs("redstart-scan", password)
	})
	if _, err := exec.LookPath("valkey-server"); err != nil {
		t.Log("rig: valkey-server is not on PATH: this run did not include Valkey")
		return
	}
	run("valkey", func(t *testing.T, e *Engine) {
		e.Server = process.valkey.get(t, func() (*Server, error) { return startServer(nil, "valkey", "valkey-server") })
		e.URL = e.Server.URL()
	})
}

// Embedded starts an embedded server for this test. The server ends with the test. The test fails
// if a script of the library touches a key without a declaration (see [UndeclaredKeys]).
func Embedded(t testing.TB) *embedded.Server {
	t.Helper()
	scripts := &script.Recorder{}
	s, err := embedded.Start(script.WithRecorder(t.Context(), scripts), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		problems, err := UndeclaredKeys(scripts)
		if err := errors.Join(err, process.record(scripts)); err != nil {
			t.Error(err)
		}
		for _, problem := range problems {
			t.Error(problem)
		}
	})
	return s
}
