package lock_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestK1_MutualExclusion: several processes, all faults that K1 covers, and no overlap: the history of grants and
// ends is one that a single lock could have produced, tokens included.
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

// TestK2_FencingCoversTheRest: pauses of holders beyond the margin, FLUSHALL, failovers. Two may hold at once, which is
// counted; what the fenced store takes is right all the same.
func TestK2_FencingCoversTheRest(t *testing.T) {
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

// pause lets the processes work: what happens meanwhile is what is tested.
func pause(d time.Duration) { <-time.After(d) }

// crowd is several contenders for one lock and what they did.
type crowd struct {
	t       *testing.T
	ttl     time.Duration
	store   *store
	members []*member

	mu  sync.Mutex
	log [][]event // by process
}

type member struct {
	proc *rig.Proc
	done chan struct{}
	at   int // in log
}

func newCrowd(t *testing.T, ttl time.Duration) *crowd {
	return &crowd{t: t, ttl: ttl, store: newStore(t)}
}

func (c *crowd) spawn(what, url string) {
	c.members = append(c.members, c.start(url))
}

func (c *crowd) start(url string, more ...string) *member {
	env := map[string]string{"LOCK_URL": url, "LOCK_TTL": c.ttl.String(), "LOCK_NAME": "n", "LOCK_MODE": "work", "LOCK_STORE": c.store.addr}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	p := rig.Spawn(c.t, "contender", env)
	c.mu.Lock()
	m := &member{proc: p, done: make(chan struct{}), at: len(c.log)}
	c.log = append(c.log, nil)
	c.mu.Unlock()
	go func() {
		defer close(m.done)
		for line := range p.Lines() {
			e, err := parseEvent(line)
			if err != nil {
				continue // the last line of a killed process
			}
			c.mu.Lock()
			c.log[m.at] = append(c.log[m.at], e)
			c.mu.Unlock()
		}
	}()
	return m
}

// replace kills a process, most likely while it holds the lock or waits for it.
func (c *crowd) replace(i int, url string) {
	m := c.members[i]
	m.proc.Kill()
	<-m.done
	c.mu.Lock()
	if end, open := endOfKilled(c.log[m.at]); open {
		c.log[m.at] = append(c.log[m.at], end)
	}
	c.mu.Unlock()
	c.members[i] = c.start(url)
}

// cutOff lets one more process hold the lock for as long as it can, and takes the network from it: it believes until its
// margin, which is short, and the next is granted the lock when the lease lapses on the server. A lease that lapses earlier than the
// holder thinks is an overlap.
func (c *crowd) cutOff(server *rig.Server) {
	c.t.Helper()
	proxy := rig.NewProxy(c.t, server.Addr())
	m := c.start(proxy.URL(), "LOCK_MODE", "stubborn", "LOCK_MARGIN", (c.ttl / 20).String())
	var token int64
	rig.Eventually(c.t, 20*time.Second, "one holds the lock for as long as it can", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, e := range c.log[m.at] {
			token = e.token
		}
		return token != 0
	})
	pause(c.ttl/3 + rand.N(c.ttl/3)) // at any phase of its renewals
	proxy.Stall()
	rig.Eventually(c.t, 20*time.Second, "the lock passes on", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, log := range c.log {
			for _, e := range log {
				if e.verb == "acquire" && e.token > token {
					return true
				}
			}
		}
		return false
	})
	proxy.Resume()
	if code := m.proc.Wait(30 * time.Second); code != 0 {
		c.t.Errorf("the holder that was cut off ended with code %d: %s", code, m.proc.Stderr())
	}
	<-m.done
}

// endOfKilled is the end of the hold that a killed process has not told of. It may have released in any moment after
// its last line, and been killed before it could print that: another may hold the lock since then, long before the kill.
func endOfKilled(log []event) (end event, open bool) {
	for _, e := range log {
		switch e.verb {
		case "acquire":
			open = true
		case "release", "lost":
			open = false
		}
		end = event{verb: "lost", call: e.end, token: e.token}
	}
	return end, open
}

func TestAKilledContenderMayHaveReleased(t *testing.T) {
	t.Parallel()
	dead := []event{
		{verb: "acquire", call: 10, end: 20, token: 1},
		{verb: "uwrite", call: 30, end: 40, token: 1},
	}
	end, open := endOfKilled(dead)
	if !open || end != (event{verb: "lost", call: 40, token: 1}) {
		t.Fatalf("%+v, %v", end, open)
	}
	if end, open := endOfKilled(append(dead, event{verb: "release", call: 50, end: 60, token: 1})); open {
		t.Errorf("released, and %+v", end)
	}
	history := func(next event) porcupine.CheckResult {
		c := &crowd{log: [][]event{append(dead, end), {next}}}
		return porcupine.CheckOperationsTimeout(lockModel, c.lockHistory(), time.Minute)
	}
	if got := history(event{verb: "acquire", call: 25, end: 50, token: 2}); got != porcupine.Ok {
		t.Errorf("the next holder after an unprinted release: %v", got)
	}
	if got := history(event{verb: "acquire", call: 25, end: 35, token: 2}); got != porcupine.Illegal {
		t.Errorf("a second holder while the first still wrote: %v", got)
	}
}

// holder is a process that has just taken the lock, most likely.
func (c *crowd) holder() *member {
	var found *member
	rig.Eventually(c.t, 10*time.Second, "somebody holds the lock", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range c.members {
			for i := len(c.log[m.at]) - 1; i >= 0 && c.log[m.at][i].verb != "release" && c.log[m.at][i].verb != "lost"; i-- {
				if c.log[m.at][i].verb == "acquire" {
					found = m
					return true
				}
			}
		}
		return false
	})
	return found
}

func (c *crowd) end() {
	for _, m := range c.members {
		if code := m.proc.Wait(30 * time.Second); code != 0 {
			c.t.Errorf("a contender ended with code %d: %s", code, m.proc.Stderr())
		}
		<-m.done
	}
}

func (c *crowd) events() []event { return slices.Concat(c.log...) }

func (c *crowd) report(t *testing.T) {
	acquired, lost, refused := 0, 0, 0
	for _, e := range c.events() {
		switch {
		case e.verb == "acquire":
			acquired++
		case e.verb == "lost":
			lost++
		case (e.verb == "read" || e.verb == "write") && !e.ok:
			refused++
		}
	}
	t.Logf("%d grants, %d lost; unfenced: %d overlaps of holders, %d lost updates; fenced: %d late reads and writes refused, %d updates",
		acquired, lost, c.overlaps(), c.lostUpdates(), refused, c.store.value)
	if acquired < 100 {
		t.Errorf("only %d grants: this run showed little", acquired)
	}
}

// overlaps counts the grants that came while another holder had not been told the end of its own.
func (c *crowd) overlaps() int {
	type span struct{ from, to int64 }
	var spans []span
	for _, log := range c.log {
		from := int64(0)
		for _, e := range log {
			switch e.verb {
			case "acquire":
				from = e.end
			case "release", "lost":
				if from != 0 {
					spans = append(spans, span{from, e.call})
				}
				from = 0
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return int(a.from - b.from) })
	n, latest := 0, int64(0)
	for _, s := range spans {
		if s.from < latest {
			n++
		}
		latest = max(latest, s.to)
	}
	return n
}

func (c *crowd) lostUpdates() int64 {
	var writes int64
	for _, e := range c.events() {
		if e.verb == "uwrite" {
			writes++
		}
	}
	return max(0, writes-c.store.unfenced)
}

func (c *crowd) lockHistory() (ops []porcupine.Operation) {
	for client, log := range c.log {
		for _, e := range log {
			op := porcupine.Operation{ClientId: client, Input: e, Call: e.call, Return: e.end}
			switch e.verb {
			case "lost":
				op.Return = math.MaxInt64 // it lapses when it lapses
			case "release":
				if e.end == 0 {
					op.Return = math.MaxInt64
				}
			case "acquire":
			default:
				continue
			}
			ops = append(ops, op)
		}
	}
	return separate(ops)
}

func (c *crowd) storeHistory() (ops []porcupine.Operation) {
	for i, e := range c.store.log {
		ops = append(ops, porcupine.Operation{ClientId: i, Input: e, Call: e.call, Return: e.end})
	}
	return ops
}

// separate gives operations that stay open a client of their own, as the checker wants it.
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

// lockModel is one lock: free, or held under a token; each grant's token is greater than all before.
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

// storeModel is the fenced counter: nobody writes on what he has not read, and no update is lost.
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
