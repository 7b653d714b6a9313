package ratelimit_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
)

// BenchmarkMemory measures the memory of a counted key on the server, after 10 requests each, by
// MEMORY USAGE: name, value, expiry. The growth of the tables is in docs/scaling.md.
func BenchmarkMemory(b *testing.B) {
	const users, requests = 4096, 10
	server := rig.Standalone(b)
	client := rigclient.Open(b, server.URL(), "app")
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer rdb.Close()
	l, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1000)}})
	if err != nil {
		b.Fatal(err)
	}
	theirs := redis_rate.NewLimiter(rdb)
	for name, request := range map[string]func(ctx context.Context, key string, i int) error{
		"redstart": func(ctx context.Context, key string, _ int) error {
			_, err := l.Allow(ctx, key)
			return err
		},
		"redis_rate": func(ctx context.Context, key string, _ int) error {
			_, err := theirs.Allow(ctx, key, redis_rate.PerHour(1000))
			return err
		},
		// The log of many tutorials: one member per request, by its time.
		"sorted-set": func(ctx context.Context, key string, i int) error {
			_, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
				now := time.Now().UnixNano()
				p.ZAdd(ctx, "log:"+key, redis.Z{Score: float64(now), Member: strconv.FormatInt(now+int64(i), 10)})
				p.Expire(ctx, "log:"+key, time.Hour)
				return nil
			})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				server.CLI("FLUSHALL")
				var all sync.WaitGroup
				for part := range goroutines {
					all.Go(func() {
						for u := part; u < users; u += goroutines {
							for i := range requests {
								if err := request(b.Context(), fmt.Sprint("user:", 100_000+u), i); err != nil {
									b.Error(err)
									return
								}
							}
						}
					})
				}
				all.Wait()
				used, err := strconv.Atoi(server.CLI("MEMORY", "USAGE", server.CLI("RANDOMKEY")))
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(used), "B/key")
			}
		})
	}
}
