package embedded_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/rig"
)

// received records invalidations: keys, or "all" for a flush or a lost connection.
type received struct {
	mu   sync.Mutex
	keys []string
}

func (r *received) push(messages []rueidis.RedisMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if messages == nil {
		r.keys = append(r.keys, "all")
	}
	for i := range messages {
		key, _ := messages[i].ToString()
		r.keys = append(r.keys, key)
	}
}

func (r *received) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := slices.Clone(r.keys)
	slices.Sort(keys)
	return keys
}

// track connects with client tracking.
func track(t *testing.T, url string, options ...string) (rueidis.Client, *received) {
	t.Helper()
	option, err := rueidis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	r := &received{}
	option.ClientTrackingOptions, option.OnInvalidations, option.PipelineMultiplex = options, r.push, -1
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, r
}

// The same steps on Redis and on the embedded engine give the same pushes, in each mode that the
// library uses.
func TestTrackingPushesMatchRedis(t *testing.T) {
	t.Parallel()
	redis := rig.Standalone(t)
	for _, mode := range [][]string{{"OPTOUT"}, {"OPTOUT", "NOLOOP"}, {"BCAST", "PREFIX", "p:"}, {"BCAST", "PREFIX", "p:", "NOLOOP"}} {
		results := map[string]string{}
		for name, url := range map[string]string{"redis": redis.URL(), "embedded": rig.Embedded(t).URL()} {
			reader, pushes := track(t, url, mode...)
			writer := connect(t, url)
			do(t, writer, "FLUSHALL")
			var log []string
			step := func(client rueidis.Client, line string) {
				t.Helper()
				_, err := try(client, strings.Split(line, "|")...)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				do(t, reader, "PING") // a push goes out before the answer to a later command on the same connection
				log = append(log, fmt.Sprint(line, " -> ", pushes.take()))
				pushes.mu.Lock()
				pushes.keys = nil
				pushes.mu.Unlock()
			}
			for _, line := range []string{
				"r GET|p:absent", "w SET|p:absent|1", "w SET|p:absent|2", // once, until it is read again
				"r GET|p:absent", "r MGET|p:a|p:b", "w DEL|p:absent", "w SET|p:b|1", "w DEL|p:nothing",
				"r HGETALL|p:h", "w HSET|p:h|f|v", "r HGET|p:h|f", "w HDEL|p:h|x", "w HDEL|p:h|f",
				"r GET|p:own", "r SET|p:own|1", "w SET|p:own|2",
				"r EVAL|return redis.call('GET', KEYS[1])|1|p:script", "w SET|p:script|1",
				"r GET|p:script", "w EVAL|redis.call('SET', KEYS[1], 1) redis.call('DEL', KEYS[1])|1|p:script",
				"r EVAL|return redis.call('GET', KEYS[1])|1|p:loop", "r EVAL|redis.call('SET', KEYS[1], 1)|1|p:loop",
				"w SET|p:ttl|1", "r GET|p:ttl", "w PEXPIRE|p:ttl|100000", "r GET|p:ttl", "w PERSIST|p:ttl",
				"r ZRANGE|p:z|0|-1", "w ZADD|p:z|1|m", "r ZSCORE|p:z|m", "w ZADD|p:z|1|m", "w ZREM|p:z|m",
				"r XRANGE|p:x|-|+", "w XADD|p:x|*|f|v", "r GET|q:other", "w SET|q:other|1",
				"r GET|p:nx", "w SET|p:nx|1|NX", "r GET|p:nx", "w SET|p:nx|1|NX",
			} {
				client := map[byte]rueidis.Client{'r': reader, 'w': writer}[line[0]]
				step(client, line[2:])
			}
			results[name] = strings.Join(log, "\n")
		}
		if results["redis"] != results["embedded"] {
			for i, line := range strings.Split(results["redis"], "\n") {
				if got := strings.Split(results["embedded"], "\n")[i]; got != line {
					t.Errorf("%v: redis %s, embedded %s", mode, line, got)
				}
			}
		}
	}
}

// The server pushes an expiry although no command arrives. It pushes a flush as "all keys".
func TestTrackingPushesExpiryAndFlush(t *testing.T) {
	t.Parallel()
	s := rig.Embedded(t)
	reader, pushes := track(t, s.URL(), "OPTOUT", "NOLOOP")
	writer := connect(t, s.URL())
	do(t, writer, "SET", "short", "v", "PX", "50")
	do(t, reader, "GET", "short")
	rig.Eventually(t, 10*time.Second, "the expiry is pushed", func() bool { return slices.Contains(pushes.take(), "short") })
	do(t, writer, "SET", "long", "v", "EX", "3600")
	do(t, reader, "GET", "long")
	s.Advance(time.Hour)
	rig.Eventually(t, 10*time.Second, "the expiry is pushed", func() bool { return slices.Contains(pushes.take(), "long") })
	do(t, writer, "FLUSHALL")
	rig.Eventually(t, 10*time.Second, "the flush is pushed", func() bool { return slices.Contains(pushes.take(), "all") })
}
