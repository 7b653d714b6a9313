// Package rig gives tests real servers and real faults.
//
// It starts redis-server processes on free loopback ports: one alone, a cluster
// of three primaries and three replicas, a Sentinel trio, one behind TLS, one
// with the shipped ACL users. Each can be stopped, continued, killed and
// restarted; a Proxy cuts, stalls and delays what runs between client and
// server; Spawn runs the test binary again as another process. Engines runs one
// behaviour suite on all of them and on package embedded.
//
// A package's tests use it through TestMain:
//
//	func TestMain(m *testing.M) { rig.Main(m) }
//
// Main ends every server that was started and then looks for leaked goroutines.
// A server dies with the test process, however that ends.
//
// Shared, SharedCluster and SharedSentinel start once per test process and are
// used by parallel tests side by side, each in its own namespace (Prefix). They
// refuse faults; a test that needs a fault, FLUSHALL, or exact command counts
// takes a server of its own (Standalone, NewCluster, NewSentinel).
//
// A run covers a tier (see Tier). Without redis-server, a tier that needs it fails and
// prints the command that installs it. Main reports how many tests were left to a
// higher tier.
//
// The rig does not import package redstart, so that redstart's own tests can use
// it: it hands out URLs, and the test opens the client.
package rig
