// Package calls compares the call layer itself with other ways to use a connection: go-redis, rueidis in both of its modes,
// a small pool of synchronous connections. One GET of 256 bytes by 1, 4, 16 and 128 callers, on one server and on a cluster
// of three primaries, and small reads next to large ones.
//
//	go test -run '^$' -bench . -count 5 ./calls
package calls
