package callers_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/go-redis/redis_rate/v10"

	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// rate is a limit that no case reaches, per second and key.
const rate = 1_000_000

func gcra(b *testing.B, p place, _ callers.Case) operation {
	limiter, err := ratelimit.New(p.client(b), "one", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(rate)}})
	if err != nil {
		b.Fatal(err)
	}
	all := limitedKeys("")
	return func(_ int, i int64, _ func() bool) error {
		r, err := limiter.Allow(b.Context(), all[i%int64(len(all))])
		if err == nil && (!r.Allowed || r.Degraded) {
			return fmt.Errorf("%+v", r)
		}
		return err
	}
}

func rivalGCRA(b *testing.B, p place, _ callers.Case) operation {
	limiter := redis_rate.NewLimiter(p.goredis(b))
	all := limitedKeys(rig.Prefix(b))
	return func(_ int, i int64, _ func() bool) error {
		r, err := limiter.Allow(b.Context(), all[i%int64(len(all))], redis_rate.PerSecond(rate))
		if err == nil && r.Allowed == 0 {
			return errors.New("refused")
		}
		return err
	}
}

func limitedKeys(prefix string) []string {
	all := make([]string, 1024)
	for i := range all {
		all[i] = prefix + "user:" + strconv.Itoa(100_000+i)
	}
	return all
}
