// Package clientcore gives the patterns the connection layer of a client, and keeps it out of the
// public API.
//
// Package redstart imports the connection layer and the patterns import package redstart. A method
// of redstart.Client that returns the connection layer would be public, because Go has no access
// level between a package and the world. So package redstart registers a function here when it is
// initialized. Only packages of this repository can import this package.
package clientcore

import "github.com/redstart-go/redstart/internal/core"

// of is set once, by package redstart, before any client exists.
var of func(client any) *core.Core

// Register sets the function that [Of] calls. Only package redstart calls it, in a variable
// declaration, and the result is of no use.
func Register(f func(client any) *core.Core) struct{} {
	if of != nil {
		panic("clientcore: registered twice")
	}
	of = f
	return struct{}{}
}

// Of returns the connection layer of a *redstart.Client. The client must not be nil.
func Of(client any) *core.Core { return of(client) }
