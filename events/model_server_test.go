package events_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// The scripts and their models make the same random sequences of calls, with a clock that the test
// moves. After each call the replies and all keys of the partition are compared.

// scriptRunner runs scripts on a real server.
type scriptRunner struct {
	conn    *rig.Conn
	scripts map[string]string
	clock   string
	prefix  string // of the other keys
}

// newScriptRunner returns the scripts for one prefix. Several prefixes can share the scripts and
// their clock ([scriptRunner.under]), because the server compiles each text of a script once.
func newScriptRunner(conn *rig.Conn, prefix string) *scriptRunner {
	clock := prefix + "clock"
	return &scriptRunner{conn: conn, scripts: events.Sources(clock), clock: clock, prefix: prefix}
}

// under returns the same scripts and clock with another prefix.
func (r *scriptRunner) under(prefix string) *scriptRunner {
	other := *r
	other.prefix = prefix
	return &other
}

func (r *scriptRunner) set(now int64) {
	r.conn.CLI("HSET", r.clock, "s", fmt.Sprint(now/1_000_000), "us", fmt.Sprint(now%1_000_000), "ms", fmt.Sprint(now/1000))
}

func (r *scriptRunner) eval(script string, keys []string, args ...string) string {
	all := []string{"EVAL", r.scripts[script], strconv.Itoa(len(keys))}
	for _, k := range keys {
		all = append(all, r.prefix+k)
	}
	reply := strings.Split(r.conn.CLI(append(all, args...)...), "\n")
	for i, line := range reply {
		if strings.HasPrefix(line, noGroup+" ") { // the start of an error's text, which is all that the model has
			reply[i] = noGroup
		}
	}
	return strings.Join(reply, "\n")
}

// lookLua returns the contents of keys.
const lookLua = `
local out = {}
local function add(...) out[#out + 1] = table.concat({...}, ' ') end
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then add(ARGV[i], redis.call('GET', key), redis.call('PTTL', key) > 0 and 'expires' or 'stays')
  elseif kind == 'list' then for _, v in ipairs(redis.call('LRANGE', key, 0, -1)) do add(ARGV[i], v) end
  elseif kind == 'set' then local all = redis.call('SMEMBERS', key) table.sort(all) for _, v in ipairs(all) do add(ARGV[i], v) end
  elseif kind == 'zset' then local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') for j = 1, #all, 2 do add(ARGV[i], all[j + 1], all[j]) end
  elseif kind == 'hash' then
    local all, flat = {}, redis.call('HGETALL', key)
    for j = 1, #flat, 2 do all[#all + 1] = flat[j] .. ' ' .. flat[j + 1] end
    table.sort(all)
    for _, v in ipairs(all) do add(ARGV[i], v) end
  elseif kind == 'stream' then
    for _, e in ipairs(redis.call('XRANGE', key, '-', '+')) do add(ARGV[i], e[1], unpack(e[2])) end
    local info = redis.call('XINFO', 'STREAM', key)
    for j = 1, #info, 2 do if info[j] == 'last-generated-id' or info[j] == 'entries-added' then add(ARGV[i], info[j], info[j + 1]) end end
    for _, g in ipairs(redis.call('XINFO', 'GROUPS', key)) do
      add(ARGV[i], 'group', g[2], g[8])
      for _, p in ipairs(redis.call('XPENDING', key, g[2], '-', '+', 1000)) do add(ARGV[i], 'pending', g[2], p[1], p[4]) end
    end
  end
end
return table.concat(out, '\n')`

var (
	modelChannels = []string{"a", "b:1", ""}
	modelIDs      = []string{"x", "y"}
	budgets       = []int{1000, 1000, 1000, 0, 4, 40} // bytes of bodies
	chunks        = []int{16, 16, 1, 2}
)

func sideKeys(g string) (keys []string) {
	keys = []string{"group:" + g, "lease:" + g, "retry:" + g, "tries:" + g, "heads:" + g, "dead:" + g}
	for _, c := range modelChannels {
		keys = append(keys, "parked:"+g+":"+c)
	}
	for _, id := range modelIDs {
		keys = append(keys, "inbox:"+g+":"+id)
	}
	return keys
}

// names returns the names of all keys of the model.
func names() []string {
	names := []string{"stream", "groups", "delayed", "later", "cut"}
	for _, id := range modelIDs {
		names = append(names, "id:"+id)
	}
	for _, g := range []string{"g", "h"} {
		names = append(names, sideKeys(g)...)
	}
	return names
}

// remove deletes all keys: a fuzzer runs many rounds.
func (r *scriptRunner) remove() {
	all := []string{"DEL"}
	for _, n := range names() {
		all = append(all, r.prefix+n)
	}
	r.conn.CLI(all...)
}

func (r *scriptRunner) look() string {
	names := names()
	all := []string{"EVAL", lookLua, strconv.Itoa(len(names))}
	for _, n := range names {
		all = append(all, r.prefix+n)
	}
	return r.conn.CLI(append(all, names...)...)
}

// look returns the contents of the model in the same form.
func (m *model) look() string {
	var out lines
	say := func(parts ...any) { out = append(out, strings.TrimSuffix(fmt.Sprintln(parts...), "\n")) }
	scores := func(name string, set map[string]int64) {
		for _, member := range due(set, 0, 1<<60, len(set)) {
			say(name, set[member], member)
		}
	}
	m.stream.look(&out, "stream")
	for _, g := range m.sides {
		if g.there {
			say("stream group", g.name, g.last)
			for _, p := range g.pending {
				say("stream pending", g.name, p.id, p.count)
			}
		}
	}
	for _, g := range m.sides {
		if g.registered {
			say("groups", g.name)
		}
	}
	scores("delayed", m.delayed)
	for _, id := range slices.Sorted(maps.Keys(m.later)) {
		say("later", id, m.later[id])
	}
	for _, g := range slices.Sorted(maps.Keys(m.cuts)) {
		say("cut", g, m.cuts[g])
	}
	for _, id := range modelIDs {
		if digest := m.marks[id]; digest != "" {
			say("id:"+id, digest, "expires")
		}
	}
	for _, g := range m.sides {
		for _, f := range []struct {
			name  string
			value int64
		}{{"cut", int64(g.cut)}, {"fence", g.fence}, {"last", -1}, {"parked", int64(g.waiting())}, {"read", g.read},
			{"topics", -1}, {"turn", g.poll}} {
			if f.value >= 0 && (f.name != "parked" && f.name != "cut" || f.value > 0) {
				say("group:"+g.name, f.name, f.value)
			}
			if f.name == "last" && g.lastRead != "" {
				say("group:"+g.name, f.name, g.lastRead)
			}
			if f.name == "topics" && g.topics != "" {
				say("group:"+g.name, f.name, g.topics)
			}
		}
		if g.token != "" {
			say("lease:"+g.name, g.token, "expires")
		}
		scores("retry:"+g.name, g.retry)
		for _, id := range slices.Sorted(maps.Keys(g.tries)) {
			say("tries:"+g.name, id, g.tries[id])
		}
		scores("heads:"+g.name, g.heads)
		g.dead.look(&out, "dead:"+g.name)
		for _, c := range modelChannels {
			for _, item := range g.parked[c] {
				say("parked:"+g.name+":"+c, item)
			}
		}
		for _, id := range modelIDs {
			if g.inbox[id] {
				say("inbox:"+g.name+":"+id, 1, "expires")
			}
		}
	}
	return strings.Join(out, "\n")
}

func (s *stream) look(out *lines, name string) {
	if !s.there {
		return
	}
	for _, e := range s.entries {
		out.add(name + " " + e.id.String() + " " + strings.Join(e.fields, " "))
	}
	out.add(fmt.Sprint(name, " last-generated-id ", s.last), fmt.Sprint(name, " entries-added ", s.added))
}

// byHand is a change of a stream by an operator.
func (m *model) byHand(t *rapid.T, r *scriptRunner) {
	key := r.prefix + "stream"
	switch rapid.IntRange(0, 5).Draw(t, "fault") {
	case 0:
		r.conn.CLI("DEL", key)
		m.stream = stream{}
		for _, g := range m.sides {
			g.there, g.pending = false, nil
		}
	case 1:
		g := rapid.SampledFrom(m.sides).Draw(t, "group")
		r.conn.CLI("XGROUP", "DESTROY", key, g.name)
		g.there, g.pending = false, nil
	case 2, 3:
		if len(m.entries) > 0 {
			n := rapid.IntRange(0, len(m.entries)-1).Draw(t, "left")
			r.conn.CLI("XTRIM", key, "MAXLEN", "=", strconv.Itoa(n))
			m.entries = m.entries[len(m.entries)-n:]
		}
	case 4, 5:
		if len(m.entries) > 0 {
			i := rapid.IntRange(0, len(m.entries)-1).Draw(t, "entry")
			r.conn.CLI("XDEL", key, m.entries[i].id.String())
			m.entries = slices.Delete(slices.Clone(m.entries), i, i+1)
		}
	}
}

// channelOf returns the channel of an entry, as a process reads it.
func (m *model) channelOf(id string) string {
	if e, ok := m.find(id); ok && e.fields[0] == "c" && len(e.fields) > 3 {
		return e.fields[1]
	}
	return ""
}

// once checks the scripts' own invariants. An event is in exactly one of pending list, parked list
// and dead letters. A parked channel has a due time. A group that was lost reads its parked events
// again.
func (m *model) once(t *rapid.T) {
	for _, g := range m.sides {
		seen := map[string]string{}
		put := func(id, where string) {
			if other, twice := seen[id]; twice && !g.startedAgain {
				t.Fatalf("%s is in the %s list and in the %s list of %s", id, other, where, g.name)
			}
			seen[id] = where
		}
		for _, p := range g.pending {
			put(p.id.String(), "pending")
		}
		for c, list := range g.parked {
			for _, item := range list {
				id, _, _ := strings.Cut(item, " ")
				put(id, "parked")
			}
			if _, ok := g.retry[c]; !ok && len(list) > 0 {
				t.Fatalf("what channel %q of %s has parked is due at no time", c, g.name)
			}
		}
		for _, e := range g.dead.entries {
			put(e.fields[1], "dead")
		}
	}
}

func TestScriptsEqualTheirModels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, scripts(rig.Shared(t).Conn(t), rig.Prefix(t)))
}

func FuzzScriptsEqualTheirModels(f *testing.F) {
	for seed := range uint64(4) {
		b, rng := make([]byte, 8<<10), rand.New(rand.NewPCG(seed, 0))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	run := rapid.MakeFuzz(scripts(rig.Shared(f).Conn(f), rig.Prefix(f)))
	f.Fuzz(func(t *testing.T, b []byte) { run(t, b) })
}

// The members are listed in sorted order and expire by the server's clock. The number of partitions
// is stored once.
func TestMembersEqualTheirModel(t *testing.T) {
	t.Parallel()
	namespace, round := rig.Prefix(t), 0
	runner := newScriptRunner(rig.Shared(t).Conn(t), namespace+":")
	rapid.Check(t, func(t *rapid.T) {
		round++
		r := runner.under(fmt.Sprintf("%s:%d:", namespace, round))
		now, stored, until := int64(1_760_000_000_000_000), "", map[string]int64{}
		r.set(now)
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) {
				now += rapid.SampledFrom([]int64{1000, 100_000, 900_000}).Draw(t, "step")
				r.set(now)
			},
			"beat": func(t *rapid.T) {
				who, ms := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "member"),
					rapid.SampledFrom([]int64{0, 500, 1000}).Draw(t, "ms")
				n := rapid.SampledFrom([]string{"4", "4", "4", "5"}).Draw(t, "partitions")
				got := r.eval("member", []string{"members", "bus"}, who, fmt.Sprint(ms), n, "g")
				maps.DeleteFunc(until, func(_ string, ms int64) bool { return ms <= now/1000 })
				if stored == "" {
					stored = n
				}
				want := lines{stored}
				if stored == n {
					delete(until, who)
					if ms > 0 {
						until[who] = now/1000 + ms
					}
					want.list(slices.Sorted(maps.Keys(until)))
				} else {
					want.list(nil)
				}
				want.add("")
				if want := strings.Join(want, "\n"); got != want {
					t.Fatalf("%q, want %q", got, want)
				}
			},
		})
	})
}
