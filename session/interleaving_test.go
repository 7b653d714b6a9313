package session_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// Random histories of load, update, touch, renew, login, destroy, revoke, expiry and crashes run in
// several processes. Each call is held before its write, and a login to another slot also between
// its steps. So the history contains the calls of other processes in between. After each step a
// model checks the state. REDSTART_SOAK=1 makes the histories longer.
func TestS1_InterleavingsOfProcesses(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"standalone", "cluster"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			url, servers := "", []*rig.Server(nil)
			if engine == "cluster" {
				c := rig.SharedCluster(t)
				url, servers = c.URL(), c.Primaries()
			} else {
				s := rig.Shared(t)
				url, servers = s.URL(), []*rig.Server{s}
			}
			seed := uint64(time.Now().UnixNano())
			h := newHistory(t, url, rig.Prefix(t), servers, rand.New(rand.NewPCG(seed, 0)))
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("seed %d; the history:\n%s", seed, strings.Join(h.log[max(0, len(h.log)-60):], "\n"))
				}
			})
			for range rig.Soak(500, 20_000) {
				h.step()
				if t.Failed() {
					return
				}
			}
			h.settle()
		})
	}
}

// mSession is the model of a session.
type mSession struct {
	id, user string
	token    string   // the newest token
	inGrace  []string // older tokens in their grace period
	notes    []string // of all updates that were stored
	alive    bool
	revoked  bool // ended, possibly between the steps of a login
}

// mHandle is a Session in a worker, possibly in the middle of a call.
type mHandle struct {
	worker int
	name   string
	of     *mSession
	token  string   // the token of the Session
	op     string   // the call in flight, "" if none
	arg    string   // its argument
	moving []string // between the steps of a login: the notes that move
	at     string   // the step before which the call is held
}

type history struct {
	t         *testing.T
	url, ns   string
	servers   []*rig.Server
	rnd       *rand.Rand
	m         *mgr
	workers   []*rig.Proc
	sessions  []*mSession
	handles   []*mHandle
	tokenless int
	log       []string
}

var users = []string{"ada", "bob", "eve"}

func newHistory(t *testing.T, url, ns string, servers []*rig.Server, rnd *rand.Rand) *history {
	h := &history{t: t, url: url, ns: ns, servers: servers, rnd: rnd, m: manager(t, open(t, url, ns), historyOptions)}
	for range 3 {
		h.workers = append(h.workers, h.spawn())
	}
	return h
}

var historyOptions = session.Options{RenewGrace: time.Minute, EncryptionKeys: [][]byte{key("h")}}

func (h *history) spawn() *rig.Proc {
	return rig.Spawn(h.t, "session worker", map[string]string{"SESSION_URL": h.url, "SESSION_NS": h.ns})
}

// ask sends a command to a worker and returns its reply.
func (h *history) ask(worker int, words ...string) []string {
	h.t.Helper()
	line := strings.Join(words, " ")
	h.workers[worker].Send(line)
	answer := h.workers[worker].Line(30 * time.Second)
	h.log = append(h.log, fmt.Sprintf("worker %d: %s: %s", worker, line, answer))
	return strings.Fields(answer)
}

func (h *history) expect(want bool, what string, got []string) {
	h.t.Helper()
	if (got[0] == "ok") != want || !want && got[0] != "notfound" {
		h.t.Errorf("%s: %v, want success %v", what, got, want)
	}
}

func (h *history) step() {
	h.t.Helper()
	idle := slices.DeleteFunc(slices.Clone(h.handles), func(x *mHandle) bool { return x.op != "" })
	busy := slices.DeleteFunc(slices.Clone(h.handles), func(x *mHandle) bool { return x.op == "" })
	alive := slices.DeleteFunc(slices.Clone(h.sessions), func(s *mSession) bool { return !s.alive })
	switch n := h.rnd.IntN(100); {
	case n < 10 || len(alive) == 0:
		h.create()
	case n < 20:
		h.load(pick(h.rnd, h.sessions))
	case n < 50 && len(idle) > 0:
		h.begin(pick(h.rnd, idle), []string{"update", "update", "update", "renew", "login", "login"}[h.rnd.IntN(6)])
	case n < 80 && len(busy) > 0:
		h.resume(pick(h.rnd, busy))
	case n < 84:
		s := pick(h.rnd, alive)
		h.expect(true, "revoke", h.ask(h.anyWorker(), "revoke", s.user, s.id))
		h.kill(s)
	case n < 86 && len(idle) > 0:
		x := pick(h.rnd, idle)
		h.expect(true, "destroy", h.ask(x.worker, "destroy", x.name)) // also of an ended session
		h.kill(x.of)
		h.drop(x)
	case n < 88:
		user := pick(h.rnd, users)
		h.expect(true, "revoke user", h.ask(h.anyWorker(), "revokeuser", user))
		for _, s := range h.sessions {
			if s.user == user {
				h.kill(s)
			}
		}
	case n < 90 && len(idle) > 0:
		x := pick(h.rnd, idle)
		if !x.of.alive {
			return
		}
		h.expect(true, "revoke others", h.ask(x.worker, "others", x.name))
		for _, s := range h.sessions {
			if s.user == x.of.user && s != x.of {
				h.kill(s)
			}
		}
	case n < 92:
		h.expire(pick(h.rnd, alive))
	case n < 93:
		h.crash(h.anyWorker())
	default:
		h.check(pick(h.rnd, h.sessions))
	}
}

func (h *history) anyWorker() int { return h.rnd.IntN(len(h.workers)) }

func pick[V any](rnd *rand.Rand, all []V) V { return all[rnd.IntN(len(all))] }

func (h *history) kill(s *mSession) { s.alive, s.revoked = false, true }

func (h *history) drop(x *mHandle) {
	h.handles = slices.DeleteFunc(h.handles, func(other *mHandle) bool { return other == x })
}

func (h *history) handle(worker int) *mHandle {
	h.tokenless++
	return &mHandle{worker: worker, name: fmt.Sprint("h", h.tokenless)}
}

func (h *history) create() {
	x := h.handle(h.anyWorker())
	user := pick(h.rnd, users)
	got := h.ask(x.worker, "create", x.name, user)
	h.expect(true, "create", got)
	x.of = &mSession{id: got[2], token: got[1], user: user, alive: true}
	x.token = got[1]
	h.sessions, h.handles = append(h.sessions, x.of), append(h.handles, x)
}

// load makes a handle of an old or new token. Half of the loads are held before a touch.
func (h *history) load(s *mSession) {
	x := h.handle(h.anyWorker())
	x.of, x.token = s, s.token
	if len(s.inGrace) > 0 && h.rnd.IntN(2) == 0 {
		x.token = pick(h.rnd, s.inGrace)
	}
	if h.rnd.IntN(2) == 0 {
		got := h.ask(x.worker, "load", x.name, x.token)
		h.expect(s.alive, "load", got)
		if got[0] == "ok" {
			h.handles = append(h.handles, x)
		}
		return
	}
	x.op = "touch"
	h.took(x, h.ask(x.worker, "touch", x.name, x.token))
}

func (h *history) begin(x *mHandle, op string) {
	x.op, x.arg = op, "-"
	switch op {
	case "update":
		h.tokenless++
		x.arg = fmt.Sprint("n", h.tokenless)
	case "login":
		x.arg = pick(h.rnd, users)
	}
	h.took(x, h.ask(x.worker, op, x.name, x.arg))
}

func (h *history) resume(x *mHandle) { h.took(x, h.ask(x.worker, "resume", x.name)) }

// took applies the result of one step of a call.
func (h *history) took(x *mHandle, got []string) {
	h.t.Helper()
	s := x.of
	if got[0] == "held" {
		if x.at == "" {
			if !slices.Contains(h.handles, x) {
				h.handles = append(h.handles, x) // a load that is held before its touch
			}
		} else { // held a second time: the login has ended the old session
			if x.op != "login" || got[1] != "move" || !s.alive {
				h.t.Errorf("%s %s is held before %s, alive %v", x.op, x.arg, got[1], s.alive)
			}
			x.moving = nil // the data of another user is dropped
			s.alive = false
		}
		x.at = got[1]
		return
	}
	op, moved := x.op, x.at == "move"
	held := x.at != ""
	x.op, x.at = "", ""
	if moved {
		h.expect(!s.revoked, "the second step of a login", got)
		if got[0] != "ok" {
			h.drop(x)
			return
		}
		h.logged(x, got, x.moving)
		return
	}
	if op == "renew" && got[0] == "ok" && x.token != s.token && got[1] == x.token {
		return // Renew of a token in its grace period changes nothing and sends no command
	}
	h.expect(s.alive, op, got)
	if got[0] != "ok" {
		if held || op != "touch" {
			h.drop(x)
		}
		return
	}
	switch op {
	case "update":
		s.notes = append(slices.Clone(s.notes), x.arg)
	case "renew":
		switch {
		case x.token != s.token:
			h.t.Errorf("a token in its grace period was renewed")
		case x.token == s.token && got[1] == x.token:
			h.t.Errorf("a renewal changed nothing")
		default:
			s.inGrace = append(s.inGrace, x.token)
			s.token, x.token = got[1], got[1]
		}
	case "login":
		s.alive = false
		if x.arg != s.user {
			h.t.Errorf("a login moved to another user in one step")
		}
		h.logged(x, got, s.notes)
	case "touch":
		if !held {
			h.handles = append(h.handles, x)
		}
	}
}

func (h *history) logged(x *mHandle, got, notes []string) {
	x.of = &mSession{id: got[2], token: got[1], user: x.arg, alive: true, notes: notes}
	x.token, x.moving = got[1], nil
	h.sessions = append(h.sessions, x.of)
}

// expire makes a session expire on the server.
func (h *history) expire(s *mSession) {
	h.t.Helper()
	k := session.Key(h.m, s.token)
	server := h.servers[0]
	if len(h.servers) > 1 {
		server = rig.SharedCluster(h.t).Primary(k)
	}
	if got := server.CLI("PEXPIRE", k, "1"); got != "1" {
		h.t.Errorf("PEXPIRE of a live session: %s", got)
	}
	rig.Eventually(h.t, 5*time.Second, "the key expires", func() bool { return server.CLI("EXISTS", k) == "0" })
	h.log = append(h.log, "expired: "+s.id)
	s.alive = false
}

// crash kills a process in the middle of a call. A login between its steps becomes a logout.
func (h *history) crash(worker int) {
	h.workers[worker].Kill()
	h.log = append(h.log, fmt.Sprint("killed: worker ", worker))
	h.workers[worker] = h.spawn()
	h.handles = slices.DeleteFunc(h.handles, func(x *mHandle) bool { return x.worker == worker })
}

// check compares a session with the model, for each of its tokens.
func (h *history) check(s *mSession) {
	h.t.Helper()
	for _, token := range append([]string{s.token}, s.inGrace...) {
		got, err := h.m.Load(h.t.Context(), token)
		if s.alive != (err == nil) || err != nil && !errors.Is(err, session.ErrNotFound) {
			h.t.Errorf("session %s of %s: alive %v, load: %v", s.id, s.user, s.alive, err)
			return
		}
		if err != nil {
			continue
		}
		data, err := got.Data(h.t.Context())
		ok(h.t, err)
		if notes := slices.Sorted(maps.Keys(data.Items)); !slices.Equal(notes,
			slices.Sorted(slices.Values(s.notes))) || got.User() != s.user || got.ID() != s.id {
			h.t.Errorf("session %s of %s: it is %s of %s with %v, want %v", s.id, s.user, got.ID(), got.User(), notes, s.notes)
		}
	}
}

// settle finishes all calls in flight and checks every session.
func (h *history) settle() {
	h.t.Helper()
	for _, x := range slices.Clone(h.handles) {
		for x.op != "" {
			h.resume(x)
		}
	}
	want := map[string][]string{}
	for _, s := range h.sessions {
		h.check(s)
		if s.alive {
			want[s.user] = append(want[s.user], s.id)
		}
	}
	for _, user := range users {
		var got []string
		for _, info := range must[[]session.Info](h.t)(h.m.List(h.t.Context(), user)) {
			got = append(got, info.ID)
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want[user]))) {
			h.t.Errorf("the list of %s is %v, want %v", user, got, want[user])
		}
	}
	if keys, _ := everlasting(h.t, h.servers, h.ns); len(keys) > 0 {
		h.t.Errorf("keys without a TTL: %v", keys)
	}
	for _, user := range users {
		must[int](h.t)(h.m.RevokeUser(h.t.Context(), user))
	}
	for _, s := range h.sessions {
		s.alive = false
		h.check(s)
	}
}
