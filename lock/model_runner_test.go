package lock_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// runner runs scripts on a real server.
type runner struct {
	t interface {
		Fatalf(format string, args ...any)
	}
	conn    *rig.Conn
	scripts map[string]string
	prefix  string
	clock   string
	now     int64
	ran     map[string]int // runs by script
}

func (r *runner) set(now int64) {
	r.now = now
	r.do("HSET", r.clock, "s", strconv.FormatInt(now/1_000_000, 10), "us", strconv.FormatInt(now%1_000_000, 10))
}

func (r *runner) do(args ...string) string {
	reply := r.conn.CLI(args...)
	if strings.HasPrefix(reply, "(error)") {
		r.t.Fatalf("%v: %s", args, reply)
	}
	return reply
}

func (r *runner) eval(script string, keys []string, args ...string) string {
	r.ran[script]++
	return r.do(append(append([]string{"EVAL", r.scripts[script], strconv.Itoa(len(keys))}, keys...), args...)...)
}

// woken takes the published messages: ids, tokens, times.
func (r *runner) woken() []string {
	list := r.prefix + "channel"
	sent := strings.FieldsFunc(r.do("LRANGE", list, "0", "-1"), func(c rune) bool { return c == '\n' })
	r.do("DEL", list)
	return sent
}

func newProperty(t testing.TB) *property {
	p := &property{conn: rig.Shared(t).Conn(t), namespace: rig.Prefix(t), ran: map[string]int{}}
	p.clock = p.namespace + ":clock"
	p.scripts = lock.Sources(p.clock) // the server compiles each text of a script once
	return p
}

// allRan checks that each script ran.
func (p *property) allRan(t *testing.T, scripts ...string) {
	t.Helper()
	for _, script := range scripts {
		if p.ran[script] == 0 {
			t.Errorf("%s.lua was never run", script)
		}
	}
}

// fuzz makes a fuzz target of a property. An ordinary test run uses only its seed inputs.
func fuzz(f *testing.F, check func(*property, *rapid.T)) {
	random := rand.NewChaCha8([32]byte{1})
	for range 20 {
		seed := make([]byte, 8<<10)
		random.Read(seed)
		f.Add(seed)
	}
	p := newProperty(f)
	run := rapid.MakeFuzz(func(t *rapid.T) { check(p, t) })
	f.Fuzz(func(t *testing.T, input []byte) { run(t, input) })
}

func (p *property) runner(t interface {
	Fatalf(format string, args ...any)
}) *runner {
	p.round++
	prefix := fmt.Sprintf("%s:%d:", p.namespace, p.round)
	r := &runner{t: t, conn: p.conn, scripts: p.scripts, prefix: prefix, clock: p.clock, ran: p.ran}
	r.set(1_760_000_000_000_000)
	return r
}

func (r *runner) acquireArgs(id string, queue bool, waited int64) []string {
	alive := "0"
	if queue {
		alive = strconv.Itoa(modelAlive)
	}
	return []string{id, strconv.Itoa(modelTTL), "600000", alive, r.prefix + "channel",
		strconv.FormatInt(waited, 10), strconv.Itoa(modelGrant), "RPUSH"}
}

// TestEveryScriptHasAModel: each script is one that the properties run, or a part of such a script.
func TestEveryScriptHasAModel(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.lua")
	if err != nil {
		t.Fatal(err)
	}
	sources := lock.Sources("clock")
	for _, file := range files {
		name := strings.TrimSuffix(file, ".lua")
		parts := []string{"queue", "mutex_state", "mutex", "shared", "waiters", "heartbeat"} // included by other scripts
		if _, ok := sources[name]; !ok && !slices.Contains(parts, name) {
			t.Errorf("%s has no model", file)
		}
	}
	if len(files) < len(sources) {
		t.Errorf("%d files, %d scripts", len(files), len(sources))
	}
}
