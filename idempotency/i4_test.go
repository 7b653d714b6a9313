package idempotency_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/idempotency"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

// The first owner is cut off from the server for longer than its lease. A second owner executes and
// stores its result. The result of the first owner, which comes later, is not stored.
func TestI4_ALateOwnerDoesNotOverwrite(t *testing.T) {
	t.Parallel()
	server, namespace := rig.Shared(t), rig.Prefix(t)
	proxy := rig.NewProxy(t, server.Addr())
	opts := idempotency.Options{Lease: 500 * time.Millisecond}
	late := newExecutor(t, open(t, proxy.URL(), namespace, rigclient.Within(200*time.Millisecond)), opts)
	b := newBlocking()
	first := inBackground(late.Middleware(b), request{key: "k"})
	<-b.began
	proxy.Stall()

	o := &orders{}
	second := newExecutor(t, open(t, server.URL(), namespace), opts).Middleware(o)
	rig.Eventually(t, 20*time.Second, "the second owner executes", func() bool {
		return request{key: "k"}.to(second).Code == http.StatusCreated
	})
	proxy.Cut()
	proxy.Resume()
	b.end <- func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }
	if w := <-first; w.Code != http.StatusTeapot {
		t.Errorf("the first owner answers %d", w.Code)
	}
	for range 3 {
		if w := (request{key: "k"}).to(second); w.Code != http.StatusCreated {
			t.Errorf("the stored result is %d", w.Code)
		}
	}
	if s := late.Stats(); s.Lost != 1 || o.executed.Load() != 1 {
		t.Errorf("%+v, %d executions", s, o.executed.Load())
	}
}

// The scripts and their model run side by side on random calls of three owners, in virtual time.
// After each call, the reply and the record with its expiry are equal.
func TestI4_ScriptsEqualTheirModel(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name != "standalone" && e.Name != "embedded" && e.Name != "valkey" {
			return // the same server, with another protocol
		}
		rapid.Check(t, scripts(rigclient.Redis(t, open(t, e.URL, e.Namespace)), e.Namespace))
	})
}

func FuzzI4_ScriptsEqualTheirModel(f *testing.F) {
	random := rand.NewChaCha8([32]byte{1})
	for range 4 {
		seed := make([]byte, 4<<10)
		random.Read(seed)
		f.Add(seed)
	}
	namespace := rig.Prefix(f)
	run := rapid.MakeFuzz(scripts(rigclient.Redis(f, open(f, rig.Shared(f).URL(), namespace)), namespace))
	f.Fuzz(func(t *testing.T, input []byte) { run(t, input) })
}

// recordModel is the record of one key. The zero value is no record.
type recordModel struct {
	owner, fingerprint   string
	status, header, body string // status is "" without a result
	ttl                  int64  // ms
}

func (m *recordModel) begin(owner, fingerprint string, lease int64) string {
	switch {
	case m.owner != "" && m.fingerprint != fingerprint:
		return "2"
	case m.status == "0":
		return "4"
	case m.status != "":
		return strings.Join([]string{"3", m.status, m.header, m.body}, "|")
	case m.owner != "" && m.owner != owner:
		return "1"
	}
	*m = recordModel{owner: owner, fingerprint: fingerprint, ttl: lease}
	return "0"
}

func (m *recordModel) renew(owner, fingerprint string, lease int64) string {
	if m.status != "" || m.owner != "" && m.owner != owner {
		return "0"
	}
	if m.owner == "" {
		*m = recordModel{owner: owner, fingerprint: fingerprint}
	}
	m.ttl = lease
	return "1"
}

func (m *recordModel) store(owner, fingerprint string, retention int64, status, header, body string) string {
	if m.owner != "" && m.owner != owner {
		return "0"
	}
	*m = recordModel{owner, fingerprint, status, header, body, retention}
	return "1"
}

func (m *recordModel) release(owner string) string {
	if m.owner != owner || m.status != "" {
		return "0"
	}
	*m = recordModel{}
	return "1"
}

func (m *recordModel) advance(ms int64) {
	if m.ttl -= ms; m.ttl <= 0 {
		*m = recordModel{}
	}
}

// scriptRun is one random sequence. Each exported method is an action.
type scriptRun struct {
	redis rueidis.Client
	key   string
	model recordModel
}

// scripts makes random calls of all scripts for one key.
func scripts(redis rueidis.Client, namespace string) func(*rapid.T) {
	var round atomic.Int64
	return func(t *rapid.T) {
		r := &scriptRun{redis: redis, key: fmt.Sprintf("%s:model:{%d}", namespace, round.Add(1))}
		defer redis.Do(context.Background(), redis.B().Del().Key(r.key).Build()) // a fuzzer runs many rounds
		t.Repeat(rapid.StateMachineActions(r))
	}
}

func (r *scriptRun) do(t *rapid.T, args ...string) rueidis.RedisMessage {
	reply, err := r.redis.Do(t.Context(), r.redis.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%.40q: %v", args, err)
	}
	return reply
}

// eval runs a script, and compares its reply with the reply of the model.
func (r *scriptRun) eval(t *rapid.T, want, script string, args ...string) {
	reply := r.do(t, append([]string{"EVAL", idempotency.Scripts[script], "1", r.key}, args...)...)
	got := ""
	if n, err := reply.ToInt64(); err == nil {
		got = strconv.FormatInt(n, 10)
	} else {
		list, err := reply.ToArray()
		if err != nil {
			t.Fatal(err)
		}
		parts := make([]string, 0, len(list))
		for _, part := range list {
			text, err := part.ToString()
			if err != nil {
				text = fmt.Sprint(must(part.ToInt64()))
			}
			parts = append(parts, text)
		}
		got = strings.Join(parts, "|")
	}
	if got != want {
		t.Fatalf("%s %q: the script returns %q, the model %q", script, args, got, want)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// The leases and the retention of the calls, in ms. A sequence takes less than a second.
const modelLease, modelRetention = 1_000_000, 10_000_000

func someOwner(t *rapid.T) string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "owner") }
func someFingerprint(t *rapid.T) string {
	return rapid.SampledFrom([]string{"x", "x", "x", "y"}).Draw(t, "fingerprint")
}

func (r *scriptRun) Begin(t *rapid.T) {
	o, f := someOwner(t), someFingerprint(t)
	r.eval(t, r.model.begin(o, f, modelLease), "begin", o, f, strconv.Itoa(modelLease))
}

func (r *scriptRun) Renew(t *rapid.T) {
	o, f := someOwner(t), someFingerprint(t)
	r.eval(t, r.model.renew(o, f, modelLease), "renew", o, f, strconv.Itoa(modelLease))
}

func (r *scriptRun) Store(t *rapid.T) {
	o, f := someOwner(t), someFingerprint(t)
	status := rapid.SampledFrom([]string{"0", "200", "500"}).Draw(t, "status")
	body := rapid.SampledFrom([]string{"", "body", "\x00\xff"}).Draw(t, "body")
	want := r.model.store(o, f, modelRetention, status, "H: 1", body)
	r.eval(t, want, "store", o, f, strconv.Itoa(modelRetention), status, "H: 1", body)
}

func (r *scriptRun) Release(t *rapid.T) {
	o := someOwner(t)
	r.eval(t, r.model.release(o), "release", o)
}

// Advance makes time pass for the key.
func (r *scriptRun) Advance(t *rapid.T) {
	ms := rapid.Int64Range(1, modelLease/2).Draw(t, "ms")
	left := must(ptr(r.do(t, "PTTL", r.key)).ToInt64())
	r.model.advance(ms)
	switch {
	case left < 0:
	case left <= ms:
		r.do(t, "DEL", r.key)
	default:
		r.do(t, "PEXPIRE", r.key, strconv.FormatInt(left-ms, 10))
	}
}

func ptr[T any](value T) *T { return &value }

// Check compares the record with the model after each action.
func (r *scriptRun) Check(t *rapid.T) {
	fields := must(ptr(r.do(t, "HMGET", r.key, "owner", "fingerprint", "status", "header", "body")).AsStrSlice())
	m := r.model
	if want := []string{m.owner, m.fingerprint, m.status, m.header, m.body}; !slices.Equal(fields, want) {
		t.Fatalf("the record is %q, the model %q", fields, want)
	}
	left := must(ptr(r.do(t, "PTTL", r.key)).ToInt64())
	if m.owner == "" && left != -2 || m.owner != "" && (left > m.ttl || left < m.ttl-modelLease/10) {
		t.Fatalf("the record expires in %d ms, the model in %d ms", left, m.ttl)
	}
}
