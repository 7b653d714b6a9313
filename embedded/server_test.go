package embedded_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/embedded"
	"github.com/redstart-go/redstart/internal/rig"
)

func connect(t *testing.T, url string) rueidis.Client {
	t.Helper()
	option, err := rueidis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// do runs one command and returns its reply, nil for a null.
func do(t *testing.T, client rueidis.Client, args ...string) any {
	t.Helper()
	reply, err := try(client, args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return reply
}

func try(client rueidis.Client, args ...string) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	reply, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToAny()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return reply, err
}

// serverTime is TIME in microseconds.
func serverTime(t *testing.T, client rueidis.Client) int64 {
	t.Helper()
	parts := do(t, client, "TIME").([]any)
	seconds, err1 := strconv.ParseInt(parts[0].(string), 10, 64)
	micros, err2 := strconv.ParseInt(parts[1].(string), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return seconds*1e6 + micros
}

func TestKeysExpireInRealTime(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	const ttl = 200 * time.Millisecond
	before := time.Now()
	do(t, client, "SET", "k", "v", "PX", "200")
	rig.Eventually(t, 10*time.Second, "the key expires", func() bool { return do(t, client, "GET", "k") == nil })
	// The SET ran after before, and the engine counts whole milliseconds.
	if lived := time.Since(before); lived < ttl-time.Millisecond {
		t.Fatalf("lived %v of %v", lived, ttl)
	}
	if got := do(t, client, "EXISTS", "k"); got != int64(0) {
		t.Fatalf("EXISTS = %v", got)
	}
}

func TestKeyWithoutTTLStays(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	client := connect(t, s.URL())
	do(t, client, "SET", "k", "v")
	s.Advance(1000 * time.Hour)
	if got := do(t, client, "GET", "k"); got != "v" {
		t.Fatalf("GET = %v", got)
	}
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	client := connect(t, s.URL())
	do(t, client, "SET", "short", "v", "PX", "60000")
	do(t, client, "SET", "long", "v", "PX", "7200000")
	before := serverTime(t, client)
	s.Advance(-time.Hour)
	s.Advance(time.Hour)
	if got := do(t, client, "GET", "short"); got != nil {
		t.Errorf("a key of a minute after an hour: %v", got)
	}
	left := do(t, client, "PTTL", "long").(int64)
	if left <= 3590000 || left > 3600000 {
		t.Errorf("PTTL of a key of two hours after one: %d", left)
	}
	if moved := serverTime(t, client) - before; moved < 3600e6 || moved > 3610e6 {
		t.Errorf("TIME moved by %d µs", moved)
	}
}

// The time at which a key expires, TIME + PTTL, does not depend on the time of the read, on Advance
// or on load.
func TestTimeAndTTLMoveTogether(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	client := connect(t, s.URL())
	do(t, client, "SET", "k", "v", "PX", "36000000")
	const look = "local t = redis.call('TIME') return {t[1], t[2], redis.call('PTTL', KEYS[1])}"
	end := func() (int64, error) {
		reply, err := try(client, "EVAL", look, "1", "k")
		if err != nil {
			return 0, err
		}
		parts := reply.([]any)
		seconds, err1 := strconv.ParseInt(parts[0].(string), 10, 64)
		micros, err2 := strconv.ParseInt(parts[1].(string), 10, 64)
		return seconds*1000 + micros/1000 + parts[2].(int64), errors.Join(err1, err2)
	}
	want, err := end()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				// PTTL and the division round down, each by less than 1 ms.
				if got, err := end(); err != nil || got < want-2 || got > want+2 {
					t.Errorf("the key ends at %d, then at %d (%v)", want, got, err)
					return
				}
			}
		})
	}
	for range 50 {
		s.Advance(time.Second)
	}
	wg.Wait()
}

// A key with the TTL d exists until TIME has advanced by d, and not after that.
func TestExpiryIsExactByServerTime(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	// Answers whether the key of 20 ms was there, and how long ago it was set.
	const script = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local age = now - (redis.call('GET', KEYS[2]) or now)
local there = redis.call('EXISTS', KEYS[1])
if there == 0 then
  redis.call('SET', KEYS[1], 'v', 'PX', 20)
  redis.call('SET', KEYS[2], string.format('%.0f', now))
end
return {there, age}`
	expired := 0
	for start := time.Now(); expired < 10; {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("%d expired in 20 s", expired)
		}
		reply := do(t, client, "EVAL", script, "2", "{k}", "{k}set").([]any)
		there, age := reply[0].(int64) == 1, reply[1].(int64)
		switch {
		case there && age >= 20000:
			t.Fatalf("a key of 20 ms is there at the age of %d µs", age)
		case !there && age > 0 && age < 20000:
			t.Fatalf("a key of 20 ms was gone after %d µs", age)
		case !there && age > 0:
			expired++
		}
	}
}

func TestTimeIsMonotone(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	client := connect(t, s.URL())
	if skew := time.Since(time.UnixMicro(serverTime(t, client))); skew < -time.Second || skew > time.Second {
		t.Fatalf("TIME is %v behind", skew)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var last int64
			for range 300 {
				now := serverTime(t, client)
				if now < last {
					t.Errorf("TIME went back by %d µs", last-now)
					return
				}
				last = now
			}
		})
	}
	for range 20 {
		s.Advance(time.Millisecond)
	}
	wg.Wait()
}

// A command takes no longer with 100,000 keys, and one of the keys expires in time.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	client, control := connect(t, rig.Embedded(t).URL()), connect(t, rig.Embedded(t).URL())
	const script = "for i = 1, 10000 do redis.call('SET', KEYS[1] .. ARGV[1] .. i, 'v', 'PX', 3600000) end"
	for part := range 10 {
		do(t, client, "EVAL", script, "1", "{k}", fmt.Sprint(part, "/"))
	}
	do(t, client, "SET", "short", "v", "PX", "50")
	rig.Eventually(t, 20*time.Second, "a key expires among 100,000", func() bool { return do(t, client, "GET", "short") == nil })
	if got := do(t, client, "DBSIZE"); got != int64(100000) {
		t.Fatalf("DBSIZE = %v", got)
	}

	full, empty := medians(func() { do(t, client, "GET", "absent") }, func() { do(t, control, "GET", "absent") })
	if full > 8*empty { // a walk over all keys takes 400 ms
		t.Errorf("a GET takes %v among 100,000 keys and %v among none", full, empty)
	}
}

// A script of five commands takes little more than the round trip of one command: 43 µs and 25 µs
// on a quiet machine. A script that is compiled again, or gets a new interpreter, takes 400 µs.
func TestAScriptIsCompiledOnce(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	digest := do(t, client, "SCRIPT", "LOAD", fiveCommands).(string)
	script, get := medians(func() { do(t, client, "EVALSHA", digest, "1", "k", "10000") }, func() { do(t, client, "GET", "absent") })
	t.Logf("a script takes %v, a GET %v", script, get)
	if script > 5*get {
		t.Errorf("a script of five commands takes %v, a GET %v", script, get)
	}
}

// medians calls two functions alternately, so that other work of the machine delays both. It
// returns the median duration of each.
func medians(one, other func()) (of, ofOther time.Duration) {
	var times [2][]time.Duration
	for range 300 {
		for i, call := range []func(){one, other} {
			start := time.Now()
			call()
			times[i] = append(times[i], time.Since(start))
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	return times[0][150], times[1][150]
}

func info(t *testing.T, client rueidis.Client, sections ...string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(do(t, client, append([]string{"INFO"}, sections...)...).(string)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

func TestInfoShowsTheEmbeddedEngine(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	for _, sections := range [][]string{nil, {"server"}, {"everything"}, {"Server", "memory"}} {
		fields := info(t, client, sections...)
		if fields["redstart_embedded"] != "1" || fields["redis_version"] != "7.0.0" {
			t.Errorf("INFO %v = %v", sections, fields)
		}
		if missing := strings.Split(fields["redstart_missing"], ","); !slices.Equal(missing, embedded.Missing()) {
			t.Errorf("redstart_missing = %v", missing)
		}
	}
	if fields := info(t, client, "memory"); len(fields) != 2 || fields["maxmemory_policy"] != "noeviction" {
		t.Errorf("INFO memory = %v", fields)
	}
	hello := do(t, client, "HELLO", "3").(map[string]any)
	if hello["server"] != "redstart" {
		t.Errorf("HELLO = %v", hello)
	}
}

// Each feature that Missing returns is absent. A feature that was added later fails here.
func TestMissingFeaturesAreAbsent(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	for name, command := range map[string]string{
		"persistence": "LASTSAVE",
		"replication": "REPLICAOF NO ONE",
		"acl":         "ACL WHOAMI",
		"data-types":  "PFADD k v",
		"config":      "CONFIG GET maxmemory",
		"functions":   "FUNCTION LIST",
		"version-7.2": "SET k v IFEQ w",
	} {
		if !slices.Contains(embedded.Missing(), name) {
			t.Errorf("%s is not declared", name)
		}
		if reply, err := try(client, strings.Fields(command)...); err == nil {
			t.Errorf("%s: %s = %v", name, command, reply)
		}
	}
}

func TestClientSubcommands(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	client := connect(t, s.URL())
	for _, command := range []string{"CLIENT SETINFO LIB-NAME x", "CLIENT NO-EVICT on", "CLIENT NO-TOUCH on", "CLIENT SETNAME n"} {
		if got := do(t, client, strings.Fields(command)...); got != "OK" {
			t.Errorf("%s = %v", command, got)
		}
	}
	if a, b := do(t, client, "CLIENT", "ID"), do(t, connect(t, s.URL()), "CLIENT", "ID"); a == b {
		t.Errorf("two connections have the id %v", a)
	}
}

func TestTransaction(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	dedicated, release := client.Dedicate()
	defer release()
	replies := dedicated.DoMulti(t.Context(),
		client.B().Multi().Build(),
		client.B().Arbitrary("INFO", "stats").Build(), // not answered ahead of the others
		client.B().Set().Key("k").Value("v").Build(),
		client.B().Exec().Build(),
		client.B().Get().Key("k").Build(),
	)
	results, err := replies[3].ToArray()
	if err != nil || len(results) != 2 {
		t.Fatalf("EXEC = %v, %v", results, err)
	}
	if got, err := replies[4].ToString(); err != nil || got != "v" {
		t.Fatalf("GET after EXEC = %q, %v", got, err)
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	script := rueidis.NewLuaScript(`
redis.call('SET', KEYS[1], ARGV[1], 'PX', 10000)
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]), cjson.encode({1, 2})}`)
	for range 2 { // EVAL, then EVALSHA
		reply, err := script.Exec(t.Context(), client, []string{"k"}, []string{"v"}).ToAny()
		if err != nil {
			t.Fatal(err)
		}
		if list := reply.([]any); list[0] != "v" || list[1].(int64) > 10000 || list[2] != "[1,2]" {
			t.Fatalf("reply %v", list)
		}
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	client := connect(t, s.URL())
	do(t, client, "XGROUP", "CREATE", "x", "g", "0", "MKSTREAM")
	reader := make(chan any, 1)
	go func() {
		reply, err := try(client, "XREADGROUP", "GROUP", "g", "c", "BLOCK", "10000", "COUNT", "1", "STREAMS", "x", ">")
		if err != nil {
			reply = err
		}
		reader <- reply
	}()
	id := do(t, connect(t, s.URL()), "XADD", "x", "*", "f", "v").(string)
	if reply := fmt.Sprint(<-reader); !strings.Contains(reply, id) {
		t.Fatalf("XREADGROUP = %s, want entry %s", reply, id)
	}
	s.Advance(time.Minute)
	if got := fmt.Sprint(do(t, client, "XAUTOCLAIM", "x", "g", "d", "50000", "0")); !strings.Contains(got, id) {
		t.Fatalf("XAUTOCLAIM after a minute = %s", got)
	}
	if got := do(t, client, "XACK", "x", "g", id); got != int64(1) {
		t.Fatalf("XACK = %v", got)
	}
}

func TestPublishSubscribe(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	subscriber, client := connect(t, s.URL()), connect(t, s.URL())
	receive := func(subscribe rueidis.Completed) (messages chan string, end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		messages = make(chan string, 8)
		done := make(chan error, 1)
		go func() {
			done <- subscriber.Receive(ctx, subscribe, func(m rueidis.PubSubMessage) { messages <- m.Message })
		}()
		return messages, func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
	plain, end1 := receive(subscriber.B().Subscribe().Channel("c").Build())
	shard, end2 := receive(subscriber.B().Ssubscribe().Channel("c").Build())
	pattern, end3 := receive(subscriber.B().Psubscribe().Pattern("c?").Build())
	rig.Eventually(t, 10*time.Second, "the subscriptions are there", func() bool {
		counts := fmt.Sprint(do(t, client, "PUBSUB", "NUMSUB", "c"), do(t, client, "PUBSUB", "SHARDNUMSUB", "c"),
			do(t, client, "PUBSUB", "NUMPAT"))
		return counts == "map[c:1] map[c:1] 1" || counts == "[c 1] [c 1] 1"
	})
	do(t, subscriber, "GET", "k") // in RESP3 a subscriber may send other commands
	do(t, client, "PUBLISH", "c", "hello")
	do(t, client, "SPUBLISH", "c", "sharded")
	do(t, client, "EVAL", "return redis.call('SPUBLISH', KEYS[1], 'script')", "1", "c")
	do(t, client, "PUBLISH", "cc", "by pattern")
	for _, want := range []struct {
		from chan string
		text string
	}{{plain, "hello"}, {shard, "sharded"}, {shard, "script"}, {pattern, "by pattern"}} {
		if got := <-want.from; got != want.text {
			t.Errorf("message %q, want %q", got, want.text)
		}
	}
	end1()
	end2()
	end3()
}

func TestCloseFreesThePort(t *testing.T) {
	t.Parallel()
	s, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	addr := s.Addr()
	client := connect(t, s.URL())
	do(t, client, "SET", "k", "v")
	// A taken port is an error that names it.
	if _, err := embedded.Start(t.Context(), embedded.Options{Addr: addr}); err == nil || !strings.Contains(err.Error(), addr) {
		t.Fatalf("start on a taken port: %v", err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	again, err := embedded.Start(t.Context(), embedded.Options{Addr: addr})
	if err != nil {
		t.Fatalf("start on the freed port: %v", err)
	}
	defer again.Close()
	if got := do(t, connect(t, again.URL()), "GET", "k"); got != nil {
		t.Fatalf("a new server holds %v", got)
	}
}

// Close ends commands that block without a timeout. goleak finds goroutines that stay.
func TestCloseEndsBlockedCommands(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, err := embedded.Start(t.Context(), embedded.Options{})
		if err != nil {
			t.Fatal(err)
		}
		addr := s.Addr()
		var conns []net.Conn
		for range 4 {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("XREAD BLOCK 0 STREAMS x $\r\n")); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		closed := make(chan struct{})
		go func() { s.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Fatal("Close hangs")
		}
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 64)); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("a connection is open after Close")
			}
			c.Close()
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"nonsense", "0.0.0.0:0", ":0", "10.1.2.3:6379", "example.com:1"} {
		s, err := embedded.Start(t.Context(), embedded.Options{Addr: addr})
		if err == nil {
			s.Close()
			t.Errorf("Addr %q is accepted", addr)
		} else if !strings.Contains(err.Error(), "Options.Addr") {
			t.Errorf("Addr %q: %v", addr, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.Start(ctx, embedded.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a cancelled ctx: %v", err)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s, err := embedded.Start(t.Context(), embedded.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, word := range []string{"in memory", "lost at exit", "for development", "127.0.0.1:"} {
		if !strings.Contains(log.String(), word) {
			t.Errorf("log line %q lacks %q", log.String(), word)
		}
	}
}
