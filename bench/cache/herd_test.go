package cache_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
	"github.com/redstart-go/redstart/internal/rig"
)

// herd reads keys from its standard input. For each key, it asks with 100 callers at once, and
// prints the number of loads, the time at which they ended, and the time at which its last caller
// had the value.
func herd() {
	ctx := context.Background()
	client, err := redstart.Open(ctx, redstart.Config{URL: os.Getenv("TEST_URL"),
		Namespace: os.Getenv("TEST_NAMESPACE"), CommandTimeout: 10 * time.Second})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := cache.New[profile](client, "profiles", cache.Options{})
	if err == nil {
		_, err = c.GetOrLoad(ctx, fmt.Sprint("warm", os.Getpid()), load)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var loads, loaded atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.GetOrLoad(ctx, in.Text(), func(ctx context.Context, key string) (profile, error) {
					loads.Add(1)
					time.Sleep(100 * time.Millisecond) // the work of the source
					loaded.Store(time.Now().UnixMicro())
					return newProfile(key), nil
				}); err != nil {
					fmt.Println(err)
				}
			})
		}
		wg.Wait()
		fmt.Println(loads.Load(), loaded.Load(), time.Now().UnixMicro())
	}
}

// Eight processes with 100 callers each ask for one cold key whose load takes 100 ms.
func BenchmarkHerd(b *testing.B) {
	server, namespace := rig.Shared(b), rig.Prefix(b)
	var processes []*rig.Proc
	for range 8 {
		processes = append(processes, rig.Spawn(b, "herd",
			map[string]string{"TEST_URL": server.URL(), "TEST_NAMESPACE": namespace}))
	}
	for _, p := range processes {
		if line := p.Line(time.Minute); line != "ready" {
			b.Fatal(line)
		}
	}
	var loads int64
	var late []float64
	for b.Loop() {
		for _, p := range processes {
			p.Send("cold:" + strconv.Itoa(len(late)))
		}
		var loaded, last int64
		for _, p := range processes {
			var n, at, end int64
			line := p.Line(time.Minute)
			if _, err := fmt.Sscan(line, &n, &at, &end); err != nil {
				b.Fatal(line)
			}
			loads += n
			loaded, last = max(loaded, at), max(last, end)
		}
		late = append(late, float64(last-loaded)/1000)
	}
	for _, p := range processes {
		p.Kill()
	}
	b.ReportMetric(float64(loads)/float64(len(late)), "loads/op")
	b.ReportMetric(slices.Max(late), "last-caller-ms")
}
