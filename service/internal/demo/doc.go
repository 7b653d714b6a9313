// Package demo has the live figures of the shop, traffic of virtual users, and a simulated outage
// of Redis. It is only for a shop that other machines can't reach, see Options of package web.
package demo
