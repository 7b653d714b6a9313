// Package demo has the live figures of the shop, traffic of virtual users, a simulated outage of
// Redis, and the stories of the page. The page shows the code of the files with the suffix _lines.
// The package is only for a shop that other machines can't reach, see Options of package web.
package demo
