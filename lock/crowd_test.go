package lock_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/redstart-go/redstart/internal/rig"
)

// crowd is several contenders for one lock, and their events.
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
	at   int // index in log
}

func newCrowd(t *testing.T, ttl time.Duration) *crowd {
	return &crowd{t: t, ttl: ttl, store: newStore(t)}
}

func (c *crowd) spawn(what, url string) {
	c.members = append(c.members, c.start(url))
}

func (c *crowd) start(url string, more ...string) *member {
	env := map[string]string{"LOCK_URL": url, "LOCK_TTL": c.ttl.String(), "LOCK_NAME": "n",
		"LOCK_MODE": "work", "LOCK_STORE": c.store.addr}
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
				continue // the last line of a killed process is incomplete
			}
			c.mu.Lock()
			c.log[m.at] = append(c.log[m.at], e)
			c.mu.Unlock()
		}
	}()
	return m
}

// replace kills a process, most likely one that holds the lock or waits for it.
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

// cutOff cuts the network of one more process that holds the lock as long as it can. The process
// believes to hold the lock until its short margin. The next process gets the lock when the lease
// ends on the server. If a lease ends earlier than its holder believes, two holds overlap.
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

// endOfKilled returns the end of the hold that a killed process did not report. The process may
// have released the lock at any time after its last line. Another process may have held the lock
// since then, long before the kill.
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

// holder returns a process that most likely just acquired the lock.
func (c *crowd) holder() *member {
	var found *member
	rig.Eventually(c.t, 10*time.Second, "a process holds the lock", func() bool {
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

// overlaps counts the grants that came before the previous holder was notified of its end.
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
				op.Return = math.MaxInt64 // it ends at an unknown later time
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
