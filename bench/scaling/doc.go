// Package scaling measures the costs of the patterns on a server: memory per key, commands per
// operation, and connections, idle commands and pushes per process. [Costs.Of] computes from them
// what a fleet of processes costs a cluster. Its tests check the tables of docs/scaling.md.
package scaling
