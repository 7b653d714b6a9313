// Package embedded runs a small Redis server inside the process, so that a first
// run, an example or a unit test needs nothing else installed.
//
//	server, err := embedded.Start(ctx, embedded.Options{Log: slog.Default()})
//	…
//	defer server.Close()
//	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
//
// It is for development. Everything is in memory and lost at exit; only this
// machine can reach it; it is slower than Redis (a script costs about 0.4 ms) and
// should hold no more than some ten thousand keys. The engine is miniredis.
//
// # Time
//
// Keys expire in real time, and by Advance at once. The server has one clock: TIME,
// TIME inside scripts, stream ids, idle times and TTLs all follow it, so that a key
// with a TTL of 100 ms is gone exactly when TIME has moved by 100 ms. The clock never
// goes back. It moves in steps, when a command arrives: a step walks over all keys,
// so that it is the longer the more there are: 0.2 ms with 100, 4 ms with 1,000, 40 ms
// with 10,000, at most 250 ms. A TTL may end one step earlier than by a stopwatch.
// Timeouts of blocking commands are not moved by Advance.
//
// # What it lacks
//
// Missing lists what a pattern can't have here. A client sees it in INFO, in the
// section Server: redstart_embedded:1 and redstart_missing:tracking,…; HELLO answers
// server "miniredis". INFO names the version 7.0.0, which is the set of commands
// that patterns may rely on; HELLO's version is the engine's and means nothing.
//
// Added to the engine are CLIENT ID, SETINFO, NO-EVICT and NO-TOUCH (accepted,
// without effect), an INFO with the fields that a client checks, and SPUBLISH, which
// delivers to SUBSCRIBE: there is one space of channels.
package embedded
