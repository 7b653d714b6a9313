// Package demo shows the shop at work: what its patterns did in each second, traffic from virtual users, and
// an outage of Redis on demand. It is for a machine of one's own: see Options of package web.
package demo
