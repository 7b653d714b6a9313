package cache

import (
	"errors"
	"sync/atomic"
)

// A miss is a read that finds nothing, and then a request for the lease, which reads once more. Where one key after the other is
// missing the first read is left out: the lease is asked for at once.
//
//	    GET value ── SET lease NX GET, GET value ── load ── fill
//	guessed          SET lease NX GET, GET value ── load ── fill
//
// A guess changes what is asked and not what follows from the answers: the lease is taken before the value is read, as ever, so
// whatever ends the load's right to store (C1, C2) does so here. Nothing depends on the read that was left out: a near
// reservation is taken before the fill, which also has the server track the key, and who waits for another's load reads lease and
// value on the tracked connection when it begins to wait.
//
// If something stands under the key after all, the lease is given back and the call begins again with a read. So a wrong
// guess costs a round trip and a release behind it, and for that time keeps a refresh from its lease: it serves what is there.
// That is why it takes several absent keys in a row to guess, and why anything that is there ends it, also what is of
// no use, such as all that a Clear has left.
//
// One command would do if the lease lay in the value's place: SET value lease NX GET. But each taking of a lease would be a change
// of the value then, pushed to all near caches that have just read that it is missing, and a miss could not see the lease
// of a refresh whose entry has ended meanwhile: two loads at once.
type guess struct {
	row    atomic.Int32
	always bool // tests
}

// guessAfter is how many keys in a row must be absent.
const guessAfter = 8

// absent reports whether the next key is likely to be.
func (g *guess) absent() bool { return g.row.Load() >= guessAfter || g.always }

// saw learns from a key that was looked for. It writes only what changes: hits share the line.
func (g *guess) saw(nothing bool) {
	switch n := g.row.Load(); {
	case !nothing && n > 0:
		g.row.Store(0)
	case nothing && n < guessAfter:
		g.row.Add(1)
	}
}

// errStands ends a flight that was begun on a guess: something is there.
var errStands = errors.New("cache: the key is not absent")
