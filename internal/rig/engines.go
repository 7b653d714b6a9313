package rig

import (
	"os/exec"
	"testing"

	"github.com/redstart-go/redstart/embedded"
)

// Engine is one kind of server that a behaviour suite runs on.
type Engine struct {
	Name      string // "embedded", "standalone", "cluster", "sentinel", "acl", "acl-scan", "valkey"
	URL       string
	Namespace string // for this subtest alone; the ACL users may use no other

	Server   *Server          // standalone, acl, acl-scan, valkey; shared
	Cluster  *Cluster         // cluster; shared
	Sentinel *Sentinel        // sentinel; shared
	Embedded *embedded.Server // embedded; of this subtest alone, so that it may Advance
}

// Engines runs suite as one subtest per engine of the run's tier: the embedded one
// (TierQuick), a standalone server and a cluster (TierServer), a sentinel trio and the
// standalone server as each of the two shipped ACL users (TierAll); also Valkey if
// valkey-server is on PATH (TierAll). The real servers are the shared ones.
//
// The subtests are parallel: they run when the calling test's body has returned,
// so what it prepares for them is cleaned up with t.Cleanup, not defer.
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

// Embedded starts an embedded server for this test alone, ended with it.
func Embedded(t testing.TB) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
