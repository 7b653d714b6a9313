// Package calls compares the call layer of Redstart with other ways to use connections: go-redis,
// rueidis in both of its modes, and a small pool of synchronous connections. The work is a GET of
// 256 bytes by 1, 4, 16 and 128 callers, on one server and on a cluster of three primaries, and
// short reads next to long reads.
//
//	go test -run '^$' -bench . -count 5 ./calls
package calls
