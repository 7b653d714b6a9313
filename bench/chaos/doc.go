// Package chaos runs the patterns together while servers, connections and processes fail, and
// checks their guarantees on the histories.
//
// Four processes use events, locks, sessions, limits and a cache at the same time. The servers are
// a cluster of three primaries with three replicas, then one primary with two replicas and three
// sentinels. The cache has a server of its own. make chaos writes the report docs/chaos.md.
package chaos
