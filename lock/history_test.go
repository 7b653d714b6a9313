package lock_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestK1_MutualExclusion: several processes, all faults that K1 covers, and no overlap. A single
// lock could have produced the history of grants and ends, tokens included.
func TestK1_MutualExclusion(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server := rig.Standalone(t)
	proxy := rig.NewProxy(t, server.Addr())
	const ttl = time.Second
	crowd := newCrowd(t, ttl)
	crowd.spawn("plain", server.URL())
	crowd.spawn("plain", server.URL())
	crowd.spawn("mortal", server.URL())
	crowd.spawn("behind a proxy", proxy.URL())
	for range rig.Soak(3, 40) {
		for _, fault := range rand.Perm(5) {
			switch fault {
			case 0: // a pause below the margin
				p := crowd.members[rand.IntN(2)]
				p.proc.Stop()
				pause(ttl / 10)
				p.proc.Continue()
			case 1:
				crowd.replace(2, server.URL())
			case 2:
				proxy.Stall()
				pause(ttl * 3 / 2)
				proxy.Resume()
			case 3:
				proxy.Cut()
			case 4:
				server.Stop()
				pause(ttl / 2)
				server.Continue()
			}
			pause(ttl / 5)
		}
	}
	for range rig.Soak(2, 20) {
		crowd.cutOff(server)
	}
	crowd.end()
	crowd.report(t)
	if n := crowd.overlaps(); n != 0 {
		t.Errorf("%d overlaps of holders, want 0", n)
	}
	if crowd.lostUpdates() != 0 {
		t.Errorf("%d updates lost without fencing, want 0", crowd.lostUpdates())
	}
	checkHistory(t, "the lock", lockModel, crowd.lockHistory())
	checkHistory(t, "the fenced store", storeModel, crowd.storeHistory())
}

// TestK2_FencingCoversWhatTheLockCannot: pauses beyond the margin, FLUSHALL, failovers. Two
// processes may hold the lock at once, which is counted. The fenced store stays right.
func TestK2_FencingCoversWhatTheLockCannot(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	s := rig.NewSentinel(t)
	const ttl = time.Second
	crowd := newCrowd(t, ttl)
	for range 4 {
		crowd.spawn("plain", s.URL())
	}
	failovers, flushes, pauses := 0, 0, 0
	for range rig.Soak(1, 10) {
		for range 3 {
			m := crowd.holder()
			m.proc.Stop()
			pause(ttl * 3 / 2)
			m.proc.Continue()
			pauses++
			pause(ttl / 5)
		}
		for range 3 {
			s.Primary().CLI("FLUSHALL")
			flushes++
			pause(ttl / 2)
		}
		s.Failover()
		failovers++
		pause(ttl)
		old := s.Primary()
		old.Kill()
		s.NextPrimary(old, 20*time.Second)
		failovers++
		pause(2 * ttl)
		old.Restart()
		pause(ttl)
	}
	crowd.end()
	t.Logf("%d pauses of %v, %d FLUSHALL, %d failovers", pauses, ttl*3/2, flushes, failovers)
	crowd.report(t)
	checkHistory(t, "the fenced store", storeModel, crowd.storeHistory())
	tokens := map[int64]bool{}
	for _, e := range crowd.events() {
		if e.verb == "acquire" {
			if tokens[e.token] {
				t.Errorf("the token %d was given twice", e.token)
			}
			tokens[e.token] = true
		}
	}
}

// pause lets the processes work for some time.
func pause(d time.Duration) { <-time.After(d) }

// separate gives each open operation its own client, as the checker requires.
func separate(ops []porcupine.Operation) []porcupine.Operation {
	next := 1000
	for i := range ops {
		if ops[i].Return == math.MaxInt64 {
			ops[i].ClientId = next
			next++
		}
	}
	return ops
}

// lockModel is one lock: free, or held with a token. The token of each grant is greater than all
// earlier tokens.
var lockModel = porcupine.Model{
	Init: func() any { return lockState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, e := state.(lockState), input.(event)
		if e.verb == "acquire" {
			return s.holder == 0 && e.token > s.last, lockState{e.token, e.token}
		}
		return s.holder == e.token, lockState{0, s.last}
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
}

type lockState struct{ holder, last int64 }

// storeModel is the fenced counter: a holder writes only what it read before plus one, and no
// update is lost.
var storeModel = porcupine.Model{
	Init: func() any { return storeState{} },
	Step: func(state, input, _ any) (bool, any) {
		s, e := state.(storeState), input.(event)
		if !e.ok {
			return e.token < s.fence, s
		}
		if e.token < s.fence {
			return false, s
		}
		if e.verb == "read" {
			return e.value == s.value, storeState{e.token, s.value}
		}
		return e.value == s.value+1, storeState{e.token, e.value}
	},
	DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
}

type storeState struct{ fence, value int64 }

func checkHistory(t *testing.T, what string, model porcupine.Model, ops []porcupine.Operation) {
	t.Helper()
	switch result := porcupine.CheckOperationsTimeout(model, ops, time.Minute); result {
	case porcupine.Ok:
		t.Logf("the history of %s, %d operations, is linearizable", what, len(ops))
	default:
		t.Errorf("the history of %s, %d operations: %v", what, len(ops), result)
	}
}
