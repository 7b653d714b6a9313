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

// BenchmarkCall compares GETs of 256 bytes by 128 goroutines. They go through the call layer,
// through the client library with the same options, and through the client library with its
// defaults.
func BenchmarkCall(b *testing.B) {
	server := rig.Standalone(b)
	c := open(b, server.URL())
	// can be cancelled, as the context of a request can
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	raw, err := c.Foreign(ctx)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.Do(ctx, core.Write("SET", "k", string(make([]byte, 256)))); err != nil {
		b.Fatal(err)
	}
	parallel := func(b *testing.B, call func() error) {
		b.ReportAllocs()
		b.SetParallelism(64)
		before := cpu()
		// steadier than time on a shared machine
		defer func() { b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op") }()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	plain, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()},
		DisableCache: true, PipelineMultiplex: -1, AlwaysPipelining: true})
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

// cpu returns the processor time of this process, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
