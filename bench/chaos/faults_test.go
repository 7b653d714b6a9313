package chaos_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

// servers are the servers with the faults.
type servers struct {
	url      string
	replicas int // of each primary
	nodes    []*rig.Server
	others   []*rig.Server // that clients connect to as well
	primary  func(random *rand.Rand) *rig.Server
	healthy  func() bool // all nodes run, and all replicas have their primary's writes
	handover func(primary *rig.Server)
}

func newCluster(t *testing.T) servers {
	c := rig.NewCluster(t, rig.NodeArgs("--appendonly", "yes", rig.OwnClock))
	return servers{url: c.URL(), replicas: 1, nodes: c.Nodes(),
		primary:  func(random *rand.Rand) *rig.Server { p := c.Primaries(); return p[random.IntN(len(p))] },
		healthy:  func() bool { return c.Healthy() && len(c.Primaries()) == 3 },
		handover: func(primary *rig.Server) { c.Failover(primary) },
	}
}

func newSentinel(t *testing.T) servers {
	s := rig.NewSentinel(t, "--appendonly", "yes", rig.OwnClock)
	return servers{url: s.URL(), replicas: 2, nodes: s.Servers(), others: s.Sentinels(),
		primary: func(*rand.Rand) *rig.Server { return s.Primary() },
		healthy: func() bool {
			primary := s.Primary()
			behind := func(node *rig.Server) bool { return node != primary && node.Info("master_link_status") != "up" }
			return primary != nil && primary.Info("connected_slaves") == "2" && !slices.ContainsFunc(s.Servers(), behind)
		},
		handover: func(*rig.Server) { s.Failover() },
	}
}

// state returns the replication of each server.
func (s servers) state() string {
	var all []string
	for _, node := range s.nodes {
		all = append(all, fmt.Sprintf("%s: role %s, replicas %s, link %s", node.Addr(), node.Info("role"),
			node.Info("connected_slaves"), node.Info("master_link_status")))
	}
	return strings.Join(all, "; ")
}

// clock is the format of a time of day.
const clock = "15:04:05.000"

// field is everything that can fail, and the workers.
type field struct {
	t       *testing.T
	main    servers
	cache   *rig.Server
	truth   *rig.Server
	cables  []*rig.Network               // per worker; empty if this process can't make networks
	proxies []map[*rig.Server]*rig.Proxy // per worker
	procs   []*rig.Proc
	lives   []int // how often each worker was started
	history *history
	random  *rand.Rand
	done    []fault
	deck    []string // kinds of faults until all were used
}

func newField(t *testing.T, main servers, random *rand.Rand) *field {
	f := &field{t: t, main: main, cache: rig.Standalone(t, "--maxmemory-policy", "allkeys-lru", rig.OwnClock),
		truth: rig.Standalone(t), procs: make([]*rig.Proc, workers), lives: make([]int, workers), history: newHistory(),
		random: random}
	missing := rig.NetworksMissing()
	if missing != nil {
		t.Logf("the processes share the network of the test, and no cable is pulled: %v", missing)
	}
	for range workers {
		proxy := func(target string) *rig.Proxy { return rig.NewProxy(t, target) }
		if missing == nil {
			cable := rig.NewNetwork(t)
			f.cables, proxy = append(f.cables, cable), cable.Proxy
		}
		proxies := map[*rig.Server]*rig.Proxy{f.cache: proxy(f.cache.Addr())}
		for _, node := range slices.Concat(main.nodes, main.others) {
			proxies[node] = proxy(node.Addr())
		}
		f.proxies = append(f.proxies, proxies)
	}
	return f
}

// spawn starts a worker. After a kill it is a new process with new channels.
func (f *field) spawn(i int) {
	s := settings{ID: fmt.Sprintf("w%d.%d", i, f.lives[i]), Main: f.main.url, Cache: f.cache.URL(), Truth: f.truth.Socket(),
		Replicas: f.main.replicas, Proxies: map[string]string{}}
	f.lives[i]++
	for server, proxy := range f.proxies[i] {
		s.Proxies[server.Addr()] = proxy.Addr()
	}
	text, err := json.Marshal(s)
	if err != nil {
		f.t.Fatal(err)
	}
	env := map[string]string{"CHAOS_SETTINGS": string(text)}
	var p *rig.Proc
	if len(f.cables) > 0 {
		p = f.cables[i].Spawn("worker", env)
	} else {
		p = rig.Spawn(f.t, "worker", env)
	}
	f.procs[i] = p
	go func() {
		for line := range p.Lines() {
			f.history.add(i, line)
		}
	}()
}

// faults are the kinds of faults. Each begins a fault, and ends it or leaves the end to next.
var faults = map[string]func(f *field){
	"a primary is killed (SIGKILL), and restarts": func(f *field) {
		p := f.main.primary(f.random)
		p.Kill()
		f.wait(time.Duration(f.random.IntN(3000)) * time.Millisecond)
		p.Restart()
	},
	"a primary is frozen (SIGSTOP) for up to 3 s": func(f *field) {
		p := f.main.primary(f.random)
		p.Stop()
		f.wait(time.Duration(f.random.IntN(3000)) * time.Millisecond)
		p.Continue()
	},
	"a primary hands over to a replica": func(f *field) { f.main.handover(f.main.primary(f.random)) },
	"all connections of a process are cut": func(f *field) {
		for _, proxy := range f.proxies[f.random.IntN(workers)] {
			proxy.Reset()
		}
	},
	"the network of a process is silent for up to 3 s": func(f *field) {
		proxies := f.proxies[f.random.IntN(workers)]
		for _, proxy := range proxies {
			proxy.Stall()
		}
		f.wait(time.Duration(f.random.IntN(3000)) * time.Millisecond)
		for _, proxy := range proxies {
			proxy.Resume()
		}
	},
	cableFault: func(f *field) {
		cable := f.cables[f.random.IntN(workers)]
		cable.Cut()
		f.wait(time.Duration(f.random.IntN(3000)) * time.Millisecond)
		cable.Join()
	},
	"replies arrive 30 ms late for 2 s": func(f *field) {
		proxies := f.proxies[f.random.IntN(workers)]
		for _, proxy := range proxies {
			proxy.Delay(30 * time.Millisecond)
		}
		f.wait(2 * time.Second)
		for _, proxy := range proxies {
			proxy.Delay(0)
		}
	},
	"a process is killed (SIGKILL) and replaced": func(f *field) {
		i := f.random.IntN(workers)
		f.procs[i].Kill()
		f.spawn(i)
	},
	"a process is frozen (SIGSTOP) for up to 4 s": func(f *field) {
		p := f.procs[f.random.IntN(workers)]
		p.Stop()
		f.wait(time.Duration(f.random.IntN(4000)) * time.Millisecond)
		p.Continue()
	},
	"the clock of a primary steps 30 s forward, and back after 3 s": func(f *field) { f.step(f.main.primary(f.random), 30*time.Second) },
	"the clock of a primary steps 30 s back, and forward after 3 s": func(f *field) { f.step(f.main.primary(f.random), -30*time.Second) },
	"the clock of the cache steps 30 s, and back after 3 s": func(f *field) {
		f.step(f.cache, time.Duration(f.random.IntN(2)*60-30)*time.Second)
	},
	"a primary has no memory left for 1 s": func(f *field) {
		p := f.main.primary(f.random)
		p.CLI("CONFIG", "SET", "maxmemory", "1")
		f.wait(time.Second)
		p.CLI("CONFIG", "SET", "maxmemory", "0")
	},
	"FLUSHALL of the cache": func(f *field) { f.cache.CLI("FLUSHALL") },
	"the server of the cache is killed, and restarts empty": func(f *field) {
		f.cache.Kill()
		f.wait(time.Duration(f.random.IntN(1000)) * time.Millisecond)
		f.cache.Restart()
	},
	"the server of the cache has no memory left for 1 s": func(f *field) {
		f.cache.CLI("CONFIG", "SET", "maxmemory", "1")
		f.wait(time.Second)
		f.cache.CLI("CONFIG", "SET", "maxmemory", "0")
	},
}

// cableFault needs networks.
const cableFault = "the cable of a process is pulled for up to 3 s"

// step sets the clock of a server to another time for 3 s. The server can be a replica at the end.
func (f *field) step(s *rig.Server, offset time.Duration) {
	s.Step(offset)
	f.wait(3 * time.Second)
	s.Step(0)
}

// wait is the duration of a fault.
func (f *field) wait(d time.Duration) { <-time.After(d) }

// next lets one fault happen and waits until all workers have recovered. Each kind happens once
// before one happens again.
func (f *field) next() {
	if len(f.deck) == 0 {
		for kind := range faults {
			if kind != cableFault || len(f.cables) > 0 {
				f.deck = append(f.deck, kind)
			}
		}
		slices.Sort(f.deck)
		f.random.Shuffle(len(f.deck), func(i, j int) { f.deck[i], f.deck[j] = f.deck[j], f.deck[i] })
	}
	kind := f.deck[0]
	f.deck = f.deck[1:]
	began := time.Now()
	f.t.Logf("%s: %s", began.UTC().Format(clock), kind)
	faults[kind](f)
	f.awaitSuccesses(kind, time.Now(), time.Minute)
	f.done = append(f.done, fault{kind, time.Since(began)})
	rig.EventuallyOr(f.t, time.Minute, "the servers are healthy after: "+kind, f.main.healthy, f.main.state)
}

// awaitSuccesses waits until each worker has succeeded with each pattern, in calls that began after
// since.
func (f *field) awaitSuccesses(after string, since time.Time, within time.Duration) {
	f.t.Helper()
	unrecovered := func() string { return f.history.unrecovered(since) }
	rig.EventuallyOr(f.t, within, "each process succeeds with each pattern after: "+after,
		func() bool { return unrecovered() == "" }, unrecovered)
}

// drain ends the work and waits until all confirmed events are handled. The wait has no limit while
// events are handled.
func (f *field) drain() {
	f.t.Helper()
	for _, p := range f.procs {
		p.Send("quiet")
	}
	rig.EventuallyOr(f.t, time.Minute, "the processes end their calls",
		func() bool { return f.history.working() == "" }, f.history.working)
	left := func() int {
		f.history.mu.Lock()
		defer f.history.mu.Unlock()
		return f.history.unhandled()
	}
	for before, since := left(), time.Now(); before > 0; {
		f.wait(50 * time.Millisecond)
		if now := left(); now < before {
			before, since = now, time.Now()
		}
		if time.Since(since) > 30*time.Second {
			break // check reports what is missing
		}
	}
	for _, p := range f.procs {
		if code := p.Wait(30 * time.Second); code != 0 {
			f.t.Errorf("a process ended with %d: %s", code, p.Stderr())
		}
	}
}
