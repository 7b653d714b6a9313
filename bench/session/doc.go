// Package session measures Redstart's sessions beside alexedwards/scs through the HTTP middleware of each, on one server, in one
// run; and it runs scs on Redstart's Store.
package session
