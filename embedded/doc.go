// Package embedded runs a small Redis server inside the process. A first run, an example or a unit
// test then needs no other program.
//
//	server, err := embedded.Start(ctx, embedded.Options{})
//	…
//	defer server.Close()
//	client, err := redstart.Open(ctx, redstart.Config{URL: server.URL()})
//
// It is for development and tests. All data is in memory and lost at exit. Only this machine can
// connect. In short single runs, a GET took 25 µs and a script of five commands 45 µs, including
// the round trip, also with 100,000 keys.
//
// # Pushes
//
// CLIENT TRACKING works as in Redis 7.0 (OPTIN, OPTOUT, BCAST, NOLOOP; no REDIRECT), so near caches
// work. The server pushes the expiry of a key when the key expires, even if no command arrives. An
// idle server uses no CPU.
//
// # Time
//
// Keys expire in real time, and [Server.Advance] moves the time forward. The server has one clock,
// for TIME, TIME in scripts, stream ids, idle times and TTLs. So a key with a TTL of 100 ms is gone
// exactly when TIME has advanced by 100 ms. The clock never goes back, and it stands still while a
// script runs. Advance does not change the timeouts of blocking commands.
//
// # Scripts
//
// A script that runs longer than [Options].ScriptTimeout ends with an error, and its writes stay.
// Redis lets such a script continue. Other commands wait until the script ends, so BUSY is never a
// reply. SCRIPT KILL works as in Redis.
//
// # In memory
//
// [Server.Dial] connects without a port. With [Options].InMemory a server can live in a
// testing/synctest bubble, with a redstart.Client whose Config.Dialer is Dial. Open and close both
// within the bubble.
//
// The server keeps up to 64 MiB of replies that a client does not read. Then it closes the
// connection.
//
// # What it lacks
//
// [Missing] lists what the patterns can't use here. A client finds it in the section Server of
// INFO: redstart_embedded:1 and redstart_missing:persistence,…. HELLO reports the server
// "redstart". The version is 7.0.0, so clients use no newer command.
package embedded
