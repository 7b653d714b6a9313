package calls_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) { rig.Main(m) }

// way is one way to read a key.
type way struct {
	name string
	open func(b *testing.B, s servers) func(ctx context.Context, key string) error
}

// servers is one server, or a cluster.
type servers struct {
	url   string
	addrs []string
}

func (s servers) cluster() bool { return len(s.addrs) > 1 }

func ways(s servers) []way {
	all := []way{{"redstart", openRedstart}, {"go-redis", openGoRedis},
		{"rueidis-pipelining", openRueidis(true)}, {"rueidis-sync", openRueidis(false)}}
	if !s.cluster() {
		all = append(all, way{"pool-of-8", openPool(8)})
	}
	return all
}

func openRedstart(b *testing.B, s servers) func(context.Context, string) error {
	client := rigclient.Open(b, s.url, "")
	c := clientcore.Of(client)
	return func(ctx context.Context, key string) error {
		_, err := c.Do(ctx, core.Read("GET", key))
		return err
	}
}

func openGoRedis(b *testing.B, s servers) func(context.Context, string) error {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: s.addrs, PoolSize: 128})
	b.Cleanup(func() { _ = client.Close() })
	return func(ctx context.Context, key string) error { return client.Get(ctx, key).Err() }
}

// openRueidis opens rueidis without pipelining: its synchronous mode with one caller.
func openRueidis(always bool) func(b *testing.B, s servers) func(context.Context, string) error {
	return func(b *testing.B, s servers) func(context.Context, string) error {
		client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: s.addrs, DisableCache: true,
			PipelineMultiplex: -1, AlwaysPipelining: always})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(client.Close)
		return func(ctx context.Context, key string) error {
			return client.Do(ctx, client.B().Get().Key(key).Build()).Error()
		}
	}
}

// openPool opens a small pool of synchronous connections. Each caller takes one, or waits for one.
func openPool(size int) func(b *testing.B, s servers) func(context.Context, string) error {
	type wire struct {
		nc  net.Conn
		out []byte
		in  []byte
	}
	return func(b *testing.B, s servers) func(context.Context, string) error {
		free := make(chan *wire, size)
		for range size {
			nc, err := net.Dial("tcp", s.addrs[0])
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = nc.Close() })
			free <- &wire{nc: nc, in: make([]byte, 4096)}
		}
		return func(ctx context.Context, key string) error {
			w := <-free
			defer func() { free <- w }()
			w.out = fmt.Appendf(w.out[:0], "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(key), key)
			if _, err := w.nc.Write(w.out); err != nil {
				return err
			}
			n, err := w.nc.Read(w.in) // 256 bytes arrive in one read
			_ = string(w.in[:n])
			return err
		}
	}
}

const keyCount = 256

func prepare(b *testing.B, s servers) []string {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: s.addrs})
	defer client.Close()
	keys := make([]string, keyCount)
	for i := range keys {
		keys[i] = "app:calls:{" + strconv.Itoa(i) + "}"
		if err := client.Set(b.Context(), keys[i], strings.Repeat("x", 256), time.Hour).Err(); err != nil {
			b.Fatal(err)
		}
	}
	return keys
}

// BenchmarkGet measures a GET of 256 bytes.
func BenchmarkGet(b *testing.B) {
	one := rig.Shared(b)
	run := func(name string, s servers) {
		keys := prepare(b, s)
		for _, callers := range []int{1, 4, 16, 128} {
			for _, w := range ways(s) {
				b.Run(fmt.Sprintf("%s/callers=%d/%s", name, callers, w.name), func(b *testing.B) {
					get := w.open(b, s)
					share(b, callers, func(ctx context.Context, i int) error { return get(ctx, keys[i%keyCount]) })
				})
			}
		}
	}
	run("standalone", servers{one.URL(), []string{one.Addr()}})
	if os.Getenv("BENCH_CLUSTER") != "0" {
		cluster := rig.NewCluster(b, rig.NoReplicas())
		s := servers{url: cluster.URL()}
		for _, node := range cluster.Primaries() {
			s.addrs = append(s.addrs, node.Addr())
		}
		run("cluster", s)
	}
}

// share runs b.N calls on n goroutines.
func share(b *testing.B, callers int, do func(ctx context.Context, i int) error) {
	ctx, cancel := context.WithCancel(b.Context()) // can be cancelled, like the context of a request
	defer cancel()
	for i := range 64 {
		if err := do(ctx, i); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	before := cpu()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(ctx, int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// cpu returns the processor time of this process in ns.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
