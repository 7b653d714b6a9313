// Package embedded runs a small Redis server inside the process, so that a first run, an example or
// a unit test needs nothing else installed.
//
//	server, err := embedded.Start(ctx, embedded.Options{})
//	…
//	defer server.Close()
//	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
//
// It is for development. Everything is in memory and lost at exit, and only this machine can reach
// it. In single short runs, a GET took 25 µs and a script of five commands 45 µs, both with the
// round trip, also with 100,000 keys.
//
// # Pushes
//
// CLIENT TRACKING works as in Redis 7.0 (OPTIN, OPTOUT, BCAST, NOLOOP; no REDIRECT), so that near
// caches are on. A key that expires is pushed when it expires, although no command arrives. While
// nothing happens, the server does nothing.
//
// # Time
//
// Keys expire in real time, and by Advance at once. The server has one clock: TIME, TIME inside
// scripts, stream ids, idle times and TTLs all follow it, so that a key with a TTL of 100 ms is
// gone exactly when TIME has moved by 100 ms. The clock never goes back, and stands still while a
// script runs. Timeouts of blocking commands are not moved by Advance.
//
// # Scripts
//
// A script that runs for longer than Options.ScriptTimeout ends with an error, and what it has
// written stays; Redis lets it run on. Until then other commands wait: none is answered with BUSY.
// SCRIPT KILL works as in Redis.
//
// # In memory
//
// Dial connects without a port. With Options.InMemory a server lives in a testing/synctest bubble,
// and so does a redstart.Client whose Config.Dialer is Dial. Open and close both within the bubble.
//
// Answers that a client does not read are kept up to 64 MiB; then its connection is closed.
//
// # What it lacks
//
// Missing lists what a pattern can't have here. A client sees it in INFO, in the section Server:
// redstart_embedded:1 and redstart_missing:persistence,…; HELLO answers server "redstart". The
// version is 7.0.0, which is the set of commands that patterns may rely on.
package embedded
