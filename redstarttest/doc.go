// Package redstarttest helps to test a service that uses Redstart: a server per test, faults of the
// network, and a time that the test moves.
//
// # Quick start
//
//	func TestShelf(t *testing.T) {
//		server := redstarttest.Start(t)
//		shelf := NewShelf(server.Client())
//		…
//		server.Advance(time.Hour) // TTLs, leases and limits have ended
//		server.Break()            // the server is gone
//		…
//	}
//
// # What
//
// [Start] starts the embedded engine behind a proxy in this process. [Server.Client] opens clients;
// each is like a process of its own. [Server.Config] and [Server.URL] are for code that opens its
// own client. All of them end with the test.
//
// [Server.Advance] moves the time of the server and of its clients. [Server.Break],
// [Server.Hang], [Server.Delay] and [Server.LoseReplies] are faults. [Server.Settle] and [Drain]
// wait for what happens in the background. [Published] returns the events that were published, and
// [Server.RequireNoKeysWithoutTTL] finds keys that stay for ever.
//
// # Virtual time
//
// In a testing/synctest bubble, everything works without a port and in virtual time: [time.Sleep]
// of an hour takes no real time, and renewals and retries of this hour happen. Start the server,
// the clients and the patterns in the bubble.
//
// # A real server
//
// If the environment variable REDSTART_TEST_URL is set, the same tests run on a real server:
//
//	REDSTART_TEST_URL=redis://127.0.0.1:6379/0 go test ./...
//
// Each test has a random namespace, which its end deletes. Advance fails there, because a real
// server has its own time.
//
// # Limits
//
//   - The server is one server. For a cluster or a failover, use real ones.
//   - LoseReplies and Published need RESP3 clients without TLS.
//   - The embedded engine lacks what embedded.Missing lists.
//   - A helper waits for at most 30 s, and less if the deadline of the test comes before.
//
// # Cost
//
// A server and a client start within a few milliseconds. A round trip passes a proxy, so times that
// a test measures are longer than in production.
package redstarttest
