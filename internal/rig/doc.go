// Package rig gives tests real servers and real faults.
//
// It starts redis-server processes on free loopback ports: a single server, a cluster of three
// primaries and three replicas, a primary with two replicas and three sentinels, a server with TLS,
// and a server with the shipped ACL users. A test can stop, continue, kill and restart each of
// them. A [Proxy] cuts, stalls and delays the traffic between client and server. [Spawn] runs the
// test binary again as another process. [Engines] runs one behaviour suite on all of these servers
// and on package embedded.
//
// The tests of a package use it through TestMain:
//
//	func TestMain(m *testing.M) { rig.Main(m) }
//
// [Main] ends each started server and then looks for leaked goroutines. A server ends with the test
// process, even if the process is killed.
//
// [Shared], [SharedCluster] and [SharedSentinel] start once per test process. Parallel tests use
// them at the same time, each in its own namespace ([Prefix]). They refuse faults. A test that
// needs a fault, FLUSHALL or exact counts of commands starts its own server: [Standalone],
// [NewCluster] or [NewSentinel].
//
// A run covers a [Tier]. If redis-server is missing, a tier that needs it fails and prints the
// command that installs it. Main reports how many tests it left to a higher tier.
//
// Package rig does not import package redstart, because the tests of redstart's own internals use
// it. It returns URLs, and the test opens the client (package rigclient).
package rig
