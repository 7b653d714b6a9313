package core_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/script"
)

// BenchmarkCall compares a GET of 256 bytes by 128 goroutines through the call
// layer, on the client under it (what A1 costs), and on a client of the same library as it comes.
func BenchmarkCall(b *testing.B) {
	server := rig.Standalone(b)
	c := open(b, server.URL())
	ctx, cancel := context.WithCancel(context.Background()) // as a request's: it can be cancelled
	defer cancel()
	raw := c.Foreign()
	if _, err := c.Do(ctx, core.Write("SET", "k", string(make([]byte, 256)))); err != nil {
		b.Fatal(err)
	}
	parallel := func(b *testing.B, call func() error) {
		b.ReportAllocs()
		b.SetParallelism(64)
		before := cpu()
		defer func() { b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op") }() // steadier than time on a shared machine
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	plain, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true, PipelineMultiplex: -1, AlwaysPipelining: true})
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	b.Run("rueidis", func(b *testing.B) {
		parallel(b, func() error { return plain.Do(ctx, plain.B().Get().Key("k").Build()).Error() })
	})
	b.Run("raw", func(b *testing.B) {
		parallel(b, func() error { return raw.Do(ctx, raw.B().Get().Key("k").Build()).Error() })
	})
	b.Run("core", func(b *testing.B) {
		parallel(b, func() error { return get(ctx, c, "k") })
	})
	s := script.New("return 1")
	keys := []string{"k"}
	b.Run("script", func(b *testing.B) {
		parallel(b, func() error { _, err := c.Eval(ctx, s, keys, nil); return err })
	})
}

// cpu is the processor time that this process has used, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
