// Package session compares the sessions of Redstart with alexedwards/scs, each through its HTTP
// middleware, on one server in one run. It also runs the tests of scs on Store.
package session
