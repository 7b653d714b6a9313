package chaos_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkLocks returns how often two workers held a lock at the same time, and the pairs of grants
// whose tokens contradict their order. Two holders at the same time are a stated limit (K1): a
// paused process does not know that its lease is over. Its token is then lower, so the resource
// refuses its writes. A token that is not higher than that of an earlier grant would end this
// protection (K2).
func checkLocks(holds []hold) (overlaps int, wrong []string) {
	byName := map[string][]hold{}
	for _, h := range holds {
		byName[h.name] = append(byName[h.name], h)
	}
	for name, all := range byName {
		slices.SortFunc(all, func(a, b hold) int { return cmp.Or(a.granted.Compare(b.granted), cmp.Compare(a.token, b.token)) })
		var newest hold // the grant with the highest token so far
		var last hold   // the hold that ends last so far
		seen := map[int64]bool{}
		for _, h := range all {
			if seen[h.token] {
				wrong = append(wrong, fmt.Sprintf("%s: two grants have the token %d", name, h.token))
			}
			seen[h.token] = true
			// Of two requests that overlapped, either can have been granted first.
			if h.token < newest.token && newest.granted.Before(h.requested) {
				wrong = append(wrong, fmt.Sprintf("%s: token %d was requested after the grant of %d", name, h.token, newest.token))
			}
			if last.ended.After(h.granted) {
				overlaps++
			}
			if h.token > newest.token {
				newest = h
			}
			if h.ended.After(last.ended) {
				last = h
			}
		}
	}
	return overlaps, wrong
}

// fencedCall is a write or a read of the value that a lock protects.
type fencedCall struct {
	name             string
	token            int64 // 0: a read
	value            string
	called, returned int64 // µs; returned is 0 if the process was killed during the call
	ok               bool  // not refused
}

// fence is the state of a lock and of the value that it protects.
type fence struct {
	granted int64 // the highest token
	written int64 // the token of the last write
	value   string
}

// grant is the input of an operation that acquires a lock.
type grant struct{ token int64 }

// fenceModel is one lock with one value. Each grant has a higher token than all earlier ones. A
// write is accepted if and only if no write had a higher token, and a read returns the last
// accepted value. A write without an answer has happened or not.
var fenceModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{fence{value: "-"}} },
	Step: func(state, input, _ any) []any {
		s := state.(fence)
		if g, ok := input.(grant); ok {
			if g.token <= s.granted {
				return nil
			}
			s.granted = g.token
			return []any{s}
		}
		c := input.(fencedCall)
		written := fence{s.granted, c.token, c.value}
		accepts := c.token >= s.written
		switch {
		case c.token == 0 && (c.returned == 0 || c.value == s.value):
			return []any{s}
		case c.token == 0:
			return nil
		case c.returned == 0 && accepts:
			return []any{s, written}
		case c.returned == 0:
			return []any{s}
		case c.ok != accepts:
			return nil
		case c.ok:
			return []any{written}
		}
		return []any{s}
	},
	Equal: func(a, b any) bool { return a == b },
}).ToModel()

// checkFence returns the locks whose history no single lock with a fenced value can have, and how
// many writes were refused. A write of an old holder that is accepted after a write of a newer one
// is such a history: the two holders were not fenced.
func checkFence(holds []hold, calls map[string]*fencedCall) (wrong []string, refused int) {
	byName := map[string][]porcupine.Operation{}
	add := func(name string, input any, called, returned int64) {
		byName[name] = append(byName[name], porcupine.Operation{ClientId: len(byName[name]), Input: input, Call: called, Return: returned})
	}
	for _, h := range holds {
		add(h.name, grant{h.token}, h.requested.UnixMicro(), h.granted.UnixMicro())
	}
	for _, c := range calls {
		if c.returned > 0 && !c.ok {
			refused++
		}
		if c.returned > 0 {
			add(c.name, *c, c.called, c.returned)
		} else if c.token > 0 { // a read without an answer says nothing
			add(c.name, *c, c.called, math.MaxInt64)
		}
	}
	for name, operations := range byName {
		if result := porcupine.CheckOperationsTimeout(fenceModel, operations, time.Minute); result != porcupine.Ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s", name, result))
		}
	}
	return wrong, refused
}

// sessionCall is a call for one session. A call that failed has no answer and is not in the
// history, but the begin of each revocation is.
type sessionCall struct {
	id, kind         string // create, load, revoking or revoke
	called, returned int64  // µs
	found            bool
}

func (c sessionCall) String() string {
	return fmt.Sprintf("%s from %d to %d: %t", c.kind, c.called, c.returned, c.found)
}

// sessionModel is one session: false before its creation and after its revocation. A load may find
// nothing at any time: a failover can lose a new session, and a load can see a revocation that
// replicas have not confirmed.
var sessionModel = porcupine.Model{
	Init: func() any { return false },
	Step: func(state, input, _ any) (bool, any) {
		live, c := state.(bool), input.(sessionCall)
		switch c.kind {
		case "create":
			return !live, true
		case "revoke":
			return live, false
		}
		return live || !c.found, live
	},
}

// checkSessions returns the sessions that were found after their revocation, and those that were
// found again after a load that did not find them. The latter is a violation, unless a revocation
// had begun: a failover can lose a revocation that was not confirmed.
func checkSessions(calls []sessionCall) (wrong []string, again int) {
	byID := map[string][]sessionCall{}
	for _, c := range calls {
		byID[c.id] = append(byID[c.id], c)
	}
	for id, all := range byID {
		slices.SortStableFunc(all, func(a, b sessionCall) int { return cmp.Compare(a.called, b.called) })
		var operations []porcupine.Operation
		revoking, missing := int64(math.MaxInt64), int64(math.MaxInt64) // the first revocation, the first load without an answer
		seenAgain := false
		for i, c := range all {
			switch {
			case c.kind == "revoking":
				revoking = min(revoking, c.called)
				continue
			case c.kind == "load" && !c.found:
				missing = min(missing, c.returned)
			case c.kind == "load":
				seenAgain = seenAgain || missing < c.called
			}
			operations = append(operations, porcupine.Operation{ClientId: i, Input: c, Call: c.called, Return: c.returned})
		}
		if seenAgain {
			again++
		}
		result := porcupine.CheckOperationsTimeout(sessionModel, operations, time.Minute)
		if result != porcupine.Ok || seenAgain && missing < revoking {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %v", id, result, all))
		}
	}
	return wrong, again
}
