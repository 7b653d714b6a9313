package events_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
)

// scripts plays random calls of the scripts on one partition with two groups.
func scripts(conn *rig.Conn, namespace string) func(*rapid.T) {
	var round atomic.Int64
	runner := newScriptRunner(conn, namespace+":")
	return func(t *rapid.T) {
		p := &play{r: runner.under(fmt.Sprintf("%s:%d:", namespace, round.Add(1))), m: newModel()}
		defer p.r.remove()
		p.r.set(p.m.now)
		g := p.m.sides[0] // a subscriber has started
		p.m.register(g, "$", "v")
		p.m.acquire(g, "t1")
		p.r.eval("register", []string{"group:g", "stream", "groups"}, "g", "$", "v")
		p.r.eval("acquire", []string{"lease:g", "group:g", "stream", "groups"}, "t1", "600000", "g", "0")
		actions := rapid.StateMachineActions(p)
		for _, often := range []string{"Publish", "Step"} { // the most frequent call
			for i := range 3 {
				actions[fmt.Sprint(often, i)] = actions[often]
			}
		}
		t.Repeat(actions)
	}
}

// play is a history of calls. It makes each call on the server and on the model, and compares them.
type play struct {
	r    *scriptRunner
	m    *model
	poll int64
	body int
}

var someChannel = rapid.SampledFrom(modelChannels[:2])

func same(t *rapid.T, what, got, want string) {
	t.Helper()
	if got != want && !(strings.HasPrefix(want, "(error)") && strings.HasPrefix(got, want)) {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
}

func small(t *rapid.T, what string) int { return rapid.IntRange(0, 3).Draw(t, what) }
func rarely(t *rapid.T) bool            { return rapid.IntRange(0, 4).Draw(t, "rarely") == 4 }

func (p *play) side(t *rapid.T) *side {
	return p.m.sides[max(rapid.IntRange(-2, 1).Draw(t, "group"), 0)]
}

func (p *play) token(t *rapid.T, g *side) string {
	if tok := rapid.SampledFrom([]string{"", "", "", "", "", "t1", "t2"}).Draw(t, "token"); tok != "" {
		return tok
	}
	return g.token
}

// entry draws the id of an event.
func (p *play) entry(t *rapid.T, g *side) string {
	var ids []string
	for _, p := range g.pending {
		ids = append(ids, p.id.String())
	}
	for _, e := range p.m.entries {
		if len(ids) < 2 || len(ids) < len(g.pending)+1 {
			ids = append(ids, e.id.String())
		}
	}
	return rapid.SampledFrom(append(ids, "9-9")).Draw(t, "id")
}

func (p *play) head(t *rapid.T, g *side) (string, string) {
	c := someChannel.Draw(t, "channel")
	if list := g.parked[c]; len(list) > 0 {
		id, _, _ := strings.Cut(rapid.SampledFrom(list[:min(2, len(list))]).Draw(t, "head"), " ")
		return c, id
	}
	return c, "9-9"
}

func (p *play) Check(t *rapid.T) {
	same(t, "what is there", p.r.look(), p.m.look())
	p.m.once(t)
}

func (p *play) Time(t *rapid.T) {
	p.m.now += rapid.SampledFrom([]int64{1, 1000, 50_000, 2_000_000}).Draw(t, "step")
	p.r.set(p.m.now)
}

func (p *play) Publish(t *rapid.T) {
	p.body++
	c, id, digest := someChannel.Draw(t, "channel"), rapid.SampledFrom(modelIDs).Draw(t, "event"),
		rapid.SampledFrom([]string{"", "x", "x", "y"}).Draw(t, "digest")
	delay, due := rapid.SampledFrom([]int64{0, 0, 0, 60}).Draw(t, "delay"), rapid.SampledFrom([]int64{0, 0, 0, -5, 70}).Draw(t, "due")
	if due != 0 {
		due += p.m.ms()
	}
	within := fmt.Sprint(len(c), ":", c, id)
	got := p.r.eval("publish", []string{"stream", "delayed", "later", "id:" + id}, "600000", within,
		fmt.Sprint("e", p.body), digest, fmt.Sprint(delay), fmt.Sprint(due))
	same(t, "publish", got, p.m.publish(c, fmt.Sprint("e", p.body), within, id, digest, delay, due))
}

func (p *play) Cancel(t *rapid.T) {
	c, id := someChannel.Draw(t, "channel"), rapid.SampledFrom(modelIDs).Draw(t, "event")
	within := fmt.Sprint(len(c), ":", c, id)
	same(t, "cancel", p.r.eval("cancel", []string{"delayed", "later", "id:" + id}, within), p.m.cancel(within, id))
}

func (p *play) Due(t *rapid.T) {
	budget := rapid.SampledFrom([]int{1, 1000}).Draw(t, "budget")
	n, _, _ := strings.Cut(p.r.eval("due", []string{"stream", "delayed", "later"}, fmt.Sprint(budget)), "\n")
	same(t, "due", n, fmt.Sprint(p.m.appear(budget)))
}

func (p *play) CutParked(t *rapid.T) {
	g := p.side(t)
	tok, retention, most := rapid.SampledFrom([]string{"", g.token}).Draw(t, "token"),
		rapid.SampledFrom([]int64{0, 1, 100}).Draw(t, "retention"), rapid.SampledFrom([]int64{0, 1, 3}).Draw(t, "most")
	hands, args := map[string]int{}, []string{tok, fmt.Sprint(retention), fmt.Sprint(most), "100000"}
	for _, c := range modelChannels {
		if rapid.Bool().Draw(t, "in hand") {
			hands[c] = small(t, "hands")
			args = append(args, c, fmt.Sprint(hands[c]))
		}
	}
	n := g.name
	got := p.r.eval("parked", []string{"heads:" + n, "retry:" + n, "parked:" + n + ":", "tries:" + n, "group:" + n, "lease:" + n}, args...)
	same(t, "cut parked", got, p.m.cutParked(g, tok, retention, most, hands))
}

func (p *play) Foreign(t *rapid.T) {
	fields := rapid.SampledFrom([][]string{{"some", "thing"}, {"c", "a", "e2", "newer"}, {"c", "a"},
		{"1", "2", "3", "4"}}).Draw(t, "fields")
	id := p.m.add(p.m.ms(), fields...)
	p.r.conn.CLI(append([]string{"XADD", p.r.prefix + "stream", id.String()}, fields...)...)
}

func (p *play) Register(t *rapid.T) {
	g, start := p.side(t), rapid.SampledFrom([]string{"$", "$", "0", "1760000000001-0"}).Draw(t, "start")
	digest := rapid.SampledFrom([]string{"v", "w"}).Draw(t, "digest")
	same(t, "register", p.r.eval("register", []string{"group:" + g.name, "stream", "groups"}, g.name, start,
		digest), p.m.register(g, start, digest))
}

func (p *play) Acquire(t *rapid.T) {
	g, tok := p.side(t), rapid.SampledFrom([]string{"t1", "t2"}).Draw(t, "token")
	got := p.r.eval("acquire", []string{"lease:" + g.name, "group:" + g.name, "stream", "groups"}, tok, "600000", g.name, "0")
	same(t, "acquire", got, p.m.acquire(g, tok))
}

func (p *play) Lapse(t *rapid.T) {
	if !rarely(t) {
		return
	}
	g := p.side(t)
	g.token = ""
	p.r.conn.CLI("DEL", p.r.prefix+"lease:"+g.name)
}

func (p *play) Recover(t *rapid.T) {
	g := p.side(t)
	budget, chunk := rapid.SampledFrom(budgets).Draw(t, "budget"), rapid.SampledFrom(chunks).Draw(t, "chunk")
	tok, from, count, window := p.token(t, g), rapid.SampledFrom([]string{"0-0", "1760000000000-1"}).Draw(t,
		"from"), 1+small(t, "count"), small(t, "window")
	got := p.r.eval("recover", []string{"stream", "lease:" + g.name, "retry:" + g.name, "tries:" + g.name, "parked:" + g.name + ":"},
		tok, "600000", g.name, from, fmt.Sprint(count), fmt.Sprint(window), fmt.Sprint(budget), fmt.Sprint(chunk))
	same(t, "recover", got, p.m.recover(g, tok, from, count, window, budget, chunk))
}

func (p *play) Step(t *rapid.T) {
	g := p.side(t)
	budget, chunk := rapid.SampledFrom(budgets).Draw(t, "budget"), rapid.SampledFrom(chunks).Draw(t, "chunk")
	tok, count, window, auto := p.token(t, g), rapid.SampledFrom([]int{0, 1, 2, 10}).Draw(t, "count"),
		1+small(t, "window"), small(t, "auto")
	p.poll += rapid.SampledFrom([]int64{1, 1, 1, 0, 61}).Draw(t, "poll")
	answered := max(g.poll+rapid.SampledFrom([]int64{0, 0, 0, -1, 1}).Draw(t, "behind"), 0)
	mode := rapid.SampledFrom([]string{"keep", "keep", "keep", "release"}).Draw(t, "mode")
	if mode == "release" && len(due(g.retry, takenMS, takenMS, 1)) == 0 && !rarely(t) {
		mode = "keep"
	}
	var ops []pollOp
	for range small(t, "operations") {
		ops = append(ops, p.operation(t, g))
	}
	args := []string{tok, "600000", g.name, fmt.Sprint(count), fmt.Sprint(window), "100000", "600000", mode,
		fmt.Sprint(auto), fmt.Sprint(p.poll), fmt.Sprint(budget), fmt.Sprint(chunk), fmt.Sprint(answered)}
	for _, op := range ops {
		args = append(args, op.args...)
	}
	n := g.name
	got := p.r.eval("poll", []string{"stream", "lease:" + n, "retry:" + n, "tries:" + n, "delayed", "dead:" + n,
		"parked:" + n + ":", "inbox:" + n + ":", "cut", "group:" + n, "heads:" + n, "later"}, args...)
	same(t, "poll", got, p.m.step(g, tok, count, window, auto, mode == "release", p.poll, answered, newSizes(budget, budget, chunk), ops))
}

// operation draws one operation of a poll.
func (p *play) operation(t *rapid.T, g *side) pollOp {
	switch rapid.IntRange(0, 11).Draw(t, "operation") {
	case 0:
		return opAck(p.entry(t, g), p.entry(t, g))
	case 1:
		return opMark(rapid.SampledFrom(modelIDs).Draw(t, "event"))
	case 2:
		return opAsk(modelIDs...)
	case 3:
		c, id := p.head(t, g)
		return opPop(c, id)
	case 4:
		id, other := p.entry(t, g), p.entry(t, g)
		ids := []string{id}
		if positionOf(other).compare(positionOf(id)) > 0 && p.m.channelOf(other) == p.m.channelOf(id) {
			ids = append(ids, other)
		}
		return opPark(p.m.channelOf(id), rapid.SampledFrom([]int64{-1, 0, 10, 30}).Draw(t, "delay"),
			fmt.Sprint(small(t, "attempts")), ids...)
	case 5:
		_, id := p.head(t, g)
		if n := len(g.dead.entries); n > 0 && rapid.Bool().Draw(t, "of a dead one") {
			id = g.dead.entries[n-1].fields[1]
		}
		return opTries(id, fmt.Sprint(small(t, "attempts")))
	case 6:
		c, id := p.head(t, g)
		return opDead(id, c, true)
	case 7:
		id := p.entry(t, g)
		return opDead(id, p.m.channelOf(id), false)
	case 8:
		return opBegin(small(t, "attempts"), p.entry(t, g), p.entry(t, g))
	case 9:
		return opMore(someChannel.Draw(t, "channel"), small(t, "skip"), 1+small(t, "want"))
	case 10:
		return opFetch(p.entry(t, g))
	case 11:
		c, id := p.head(t, g)
		return opFetchHead(c, id)
	}
	panic("no such operation")
}

func (p *play) Redrive(t *rapid.T) {
	g := p.side(t)
	var ids []string
	for _, e := range g.dead.entries {
		ids = append(ids, e.id.String())
	}
	ids = append(ids, "9-9")
	ids = rapid.SliceOfN(rapid.SampledFrom(ids), 1, 3).Draw(t, "ids")
	got := p.r.eval("redrive", []string{"dead:" + g.name, "retry:" + g.name, "tries:" + g.name, "parked:" + g.name +
		":", "group:" + g.name, "heads:" + g.name}, ids...)
	same(t, "redrive", got, p.m.redrive(g, ids))
}

func (p *play) Trim(t *rapid.T) {
	retention, most := rapid.SampledFrom([]int64{0, 0, 1, 100}).Draw(t, "retention"), rapid.SampledFrom([]int64{0, 0, 1, 4}).Draw(t, "most")
	chunk, budget := rapid.SampledFrom(chunks).Draw(t, "chunk"), rapid.SampledFrom([]string{"1", "1000"}).Draw(t, "budget")
	total := 0
	for more := "1"; more == "1"; {
		var n string
		n, more, _ = strings.Cut(p.r.eval("trim", []string{"stream", "groups", "cut"}, fmt.Sprint(retention),
			fmt.Sprint(most), "500", fmt.Sprint(chunk), budget), "\n")
		cut, err := strconv.Atoi(n)
		if err != nil {
			t.Fatalf("trim: %q %q", n, more)
		}
		total += cut
	}
	same(t, "trim", fmt.Sprint(total), p.m.trim(retention, most, 500))
}

func (p *play) Drop(t *rapid.T) {
	if !rarely(t) {
		return
	}
	g := p.side(t)
	n := g.name
	got := p.r.eval("drop", []string{"stream", "groups", "group:" + n, "lease:" + n, "retry:" + n, "tries:" + n,
		"dead:" + n, "parked:" + n + ":", "cut", "heads:" + n}, n)
	same(t, "drop", got, p.m.drop(g))
}

func (p *play) ByHand(t *rapid.T) {
	if rarely(t) {
		p.m.byHand(t, p.r)
	}
}
