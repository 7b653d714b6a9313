package session_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
)

// The scripts and their Go models run side by side on random sequences of calls, with a clock that
// the test moves. After each call the replies and every key with its expiry are compared. A list
// collects published messages.

func TestS1_ScriptsEqualTheirModels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, slotScripts(rig.Shared(t).Conn(t), rig.Prefix(t)))
}

func FuzzS1_ScriptsEqualTheirModels(f *testing.F) {
	for seed := range uint64(4) {
		b, rng := make([]byte, 8<<10), rand.New(rand.NewPCG(seed, 0))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	run := rapid.MakeFuzz(slotScripts(rig.Shared(f).Conn(f), rig.Prefix(f)))
	f.Fuzz(func(t *testing.T, b []byte) { run(t, b) })
}

// slotScripts makes random calls of the scripts for one slot.
func slotScripts(conn *rig.Conn, namespace string) func(*rapid.T) {
	var round atomic.Int64
	scripts := newScripted(conn, namespace)
	return func(t *rapid.T) {
		r := &slotRun{s: scripts.at(fmt.Sprintf("%s:%d:{ada}", namespace, round.Add(1))), m: newSlotModel()}
		r.s.set(t, r.m.micros, 0)
		r.ids = []string{strings.Repeat("0", 16)} // an id that no record has
		defer func() { r.s.do(t, append([]string{"DEL", r.s.index + ":gone"}, r.keys()...)...) }()
		t.Repeat(rapid.StateMachineActions(r))
	}
}

// slotRun is one random sequence. Each exported method is an action. It calls the script and the
// model, and compares the results.
type slotRun struct {
	s   *scripted
	m   *slotModel
	ids []string
}

func (r *slotRun) keys() []string {
	all := []string{r.s.index, r.s.index + ":mark"}
	for _, id := range r.ids {
		all = append(all, r.s.key(id), r.s.index+":g:"+id)
	}
	return all
}

func (r *slotRun) fresh() string {
	r.ids = append(r.ids, fmt.Sprintf("%016d", len(r.ids)))
	return r.ids[len(r.ids)-1]
}

func (r *slotRun) some(t *rapid.T) string {
	return rapid.SampledFrom(r.ids[max(0, len(r.ids)-6):]).Draw(t, "id")
}

// tokens returns the ids of the live remember-me tokens.
func (r *slotRun) tokens() (ids []string) {
	for id, row := range r.m.rows {
		if row.kind == 'r' && row.live() && row.expires > r.m.now() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// known returns the current version in most cases.
func (r *slotRun) known(t *rapid.T, id string) string {
	if row := r.m.rows[id]; row != nil && rapid.IntRange(0, 3).Draw(t, "knows") > 0 {
		return row.version
	}
	return someVersion(t)
}

func (r *slotRun) draft(t *rapid.T, kind byte) row {
	d := row{format: '2', state: 'L', kind: kind, version: someVersion(t), link: noLink, hash: someHash(t), body: someBody(t)}
	d.idle = rapid.SampledFrom([]int64{0, 1000, 20_000, 900_000}).Draw(t, "idle")
	lives := []int64{0, 700, 5000, 100_000}
	if d.idle == 0 {
		lives = lives[1:]
	}
	d.deadline = rapid.SampledFrom(lives).Draw(t, "lifetime")
	if d.deadline > 0 { // a wrong clock is off by more than the slack, in either direction
		d.latest = r.m.now() + d.deadline + rapid.SampledFrom([]int64{60_000, 60_000, 60_000, 0, 120_000, -1,
			120_001}).Draw(t, "slack")
	}
	return d
}

func someVersion(t *rapid.T) string {
	return rapid.SampledFrom([]string{"version1", "version2", "version3"}).Draw(t, "version")
}

func someHash(t *rapid.T) string {
	return strings.Repeat(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "hash"), 32)
}

func someBody(t *rapid.T) string { return rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "body") }

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

func ms13(n int64) string { return fmt.Sprintf("%013d", n) }

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func compare(t *rapid.T, what, got, want string) {
	if got != want {
		t.Fatalf("%s: %q, want %q", what, got, want)
	}
}

// Check runs after each action.
func (r *slotRun) Check(t *rapid.T) {
	m := r.m
	m.expire()
	for id, row := range m.rows {
		if m.over[id] && !m.marked[id] || m.marked[id] && (row.state != 'T' && !row.short && row.format == '2') {
			t.Fatalf("%s was ended and exists again", id)
		}
		if !m.marked[id] && row.kind != 'a' && m.index[row.member(id)] != row.expires {
			t.Fatalf("%s expires at %d, its index entry at %d", id, row.expires, m.index[row.member(id)])
		}
	}
	got := strings.Split(r.s.look(t, m.now(), r.keys()...), "\n")
	slices.Sort(got)
	compare(t, "keys", strings.Join(got, "\n"), strings.Join(m.keys(), "\n"))
	compare(t, "published", r.s.published(t), strings.Join(m.published, ""))
	m.published = nil
}

// Time moves the clock, also back.
func (r *slotRun) Time(t *rapid.T) {
	r.m.micros += rapid.SampledFrom([]int64{1, 999, 1000, 100_000, 700_000, 1_100_000, 1_101_000, 5 * aSecond,
		22 * aSecond, 100 * aSecond, -300_000}).Draw(t, "step")
	r.m.late = rapid.SampledFrom([]int64{0, 0, 7}).Draw(t, "late")
	r.s.set(t, r.m.micros, r.m.late)
}

// Foreign changes a record as another program or another release could.
func (r *slotRun) Foreign(t *rapid.T) {
	id := r.some(t)
	row := r.m.rows[id]
	if row == nil || r.m.marked[id] {
		return
	}
	switch rapid.IntRange(0, 2).Draw(t, "how") {
	case 0:
		row.format = '1'
	case 1:
		row.state = 'X'
	case 2:
		row.short = true
	}
	r.s.do(t, "SET", r.s.key(id), row.text(), "KEEPTTL")
}

func (r *slotRun) Create(t *rapid.T) {
	old, expected := "", ""
	if rapid.Bool().Draw(t, "replaces") {
		old = r.some(t)
		expected = r.known(t, old)
	}
	kind := rapid.SampledFrom([]byte("uuua")).Draw(t, "kind")
	r.create(t, old, expected, kind, kind == 'u' && rapid.Bool().Draw(t, "remember"))
}

func (r *slotRun) create(t *rapid.T, old, expected string, kind byte, remember bool) {
	id, most := r.fresh(), rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "most")
	news, drafts := []string{id}, []row{r.draft(t, kind)}
	if remember {
		token := r.draft(t, 'r')
		token.link, drafts[0].link = id, r.fresh()
		news, drafts = append(news, drafts[0].link), append(drafts, token)
	}
	refuse, mark := rapid.Bool().Draw(t, "refuses"), rapid.SampledFrom([]int64{500, 60_000}).Draw(t, "mark")
	args, first := []string{"RPUSH", strconv.Itoa(most), flag(refuse), old, expected, decimal(mark)}, r.s.key(id)
	if old != "" {
		first = r.s.key(old)
	}
	for i, d := range drafts {
		args = append(args, news[i], string(d.kind), d.version, ms13(d.idle), ms13(d.deadline),
			decimal(d.latest), d.link, d.hash, d.body)
	}
	want := r.m.create(most, refuse, old, expected, mark, news, drafts)
	compare(t, "create", r.s.eval(t, "create", []string{r.s.index, first}, args...), want)
}

func (r *slotRun) Save(t *rapid.T) {
	id := r.some(t)
	expected, next, body, hash, ms, grace := r.known(t, id), someVersion(t), someBody(t), "", int64(0), ""
	keys := []string{r.s.index, r.s.key(id)}
	if rapid.Bool().Draw(t, "renews") {
		hash, ms = someHash(t), rapid.SampledFrom([]int64{0, 500, 10_000}).Draw(t, "grace")
		if ms > 0 {
			grace = ":g:" + id
			keys = append(keys, r.s.index+grace)
		}
	}
	want := r.m.save(id, expected, next, hash, body, grace, ms)
	compare(t, "save", r.s.eval(t, "save", keys, expected, next, hash, decimal(ms), body, id), want)
}

func (r *slotRun) Touch(t *rapid.T) {
	id := r.some(t)
	want := r.m.touch(id)
	compare(t, "touch", r.s.eval(t, "touch", []string{r.s.index, r.s.key(id)}, id), want)
}

func (r *slotRun) End(t *rapid.T) {
	all := []string{r.some(t)}
	if rapid.Bool().Draw(t, "more") {
		all = append(all, r.some(t))
	}
	mark := rapid.SampledFrom([]int64{0, 60_000}).Draw(t, "mark")
	keep := rapid.SampledFrom([]int64{0, 500, 60_000}).Draw(t, "keep")
	want := r.m.end(mark, keep, all...)
	compare(t, "end", r.s.eval(t, "end", []string{r.s.index},
		append([]string{"RPUSH", decimal(mark), decimal(keep)}, all...)...), want)
}

func (r *slotRun) EndUser(t *rapid.T) {
	keep, limit := "", rapid.SampledFrom([]int{1, 2, 1000}).Draw(t, "limit")
	if rapid.Bool().Draw(t, "others") {
		keep = r.some(t)
	}
	mark := rapid.SampledFrom([]int64{0, 60_000}).Draw(t, "mark")
	want := r.m.endUser(mark, keep, limit)
	compare(t, "end user", r.s.eval(t, "end user", []string{r.s.index}, "RPUSH", decimal(mark), keep, strconv.Itoa(limit)), want)
}

func (r *slotRun) MoveBegin(t *rapid.T) {
	id := r.some(t)
	expected, nonce, ms := r.known(t, id), someVersion(t), rapid.SampledFrom([]int64{600, 30_000}).Draw(t, "for")
	want := r.m.moveBegin(id, expected, nonce, ms)
	compare(t, "move begin", r.s.eval(t, "move begin", []string{r.s.index, r.s.key(id)}, expected, nonce, decimal(ms), id), want)
}

func (r *slotRun) MoveUndo(t *rapid.T) {
	id := r.some(t)
	nonce, before := r.known(t, id), someVersion(t)
	want := r.m.moveUndo(id, nonce, before)
	compare(t, "move undo", r.s.eval(t, "move undo", []string{r.s.index, r.s.key(id)}, nonce, before, id), want)
}

func (r *slotRun) MoveFinish(t *rapid.T) {
	id := r.some(t)
	nonce, mark := r.known(t, id), rapid.SampledFrom([]int64{500, 60_000}).Draw(t, "mark")
	keys := []string{r.s.index, r.s.key(id), r.s.key(noLink)}
	if row := r.m.rows[id]; row != nil {
		keys[2] = r.s.key(row.link)
	}
	want := r.m.moveFinish(id, nonce, mark)
	compare(t, "move finish", r.s.eval(t, "move finish", keys, "RPUSH", nonce, id, decimal(mark)), want)
}

func (r *slotRun) Recall(t *rapid.T) {
	if len(r.tokens()) == 0 {
		r.create(t, "", "", 'u', true)
	}
	token := r.some(t)
	if tokens := r.tokens(); len(tokens) > 0 && rapid.IntRange(0, 9).Draw(t, "any") > 0 {
		token = rapid.SampledFrom(tokens).Draw(t, "token")
	}
	expected := r.known(t, token)
	w := rotation{most: rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "most"),
		refuse: rapid.Bool().Draw(t, "refuses"), previous: rapid.Bool().Draw(t, "previous"),
		grace:   rapid.SampledFrom([]int64{0, 500, 10_000}).Draw(t, "grace"),
		use:     rapid.SampledFrom([]int64{0, 1000}).Draw(t, "use"),
		version: someVersion(t), hash: someHash(t), body: someBody(t)}
	d, id := r.draft(t, 'u'), r.fresh()
	want := r.m.recall(token, expected, w, id, d)
	compare(t, "recall", r.s.eval(t, "recall", []string{r.s.index, r.s.key(token)},
		"RPUSH", strconv.Itoa(w.most), flag(w.refuse), token, expected, flag(w.previous), decimal(w.grace),
		decimal(w.use), w.version, w.hash, w.body,
		id, d.version, ms13(d.idle), ms13(d.deadline), decimal(d.latest), d.hash, d.body), want)
}
