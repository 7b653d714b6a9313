package callers_test

import (
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/bench/callers"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
)

func TestMain(m *testing.M) {
	// scs.New starts a store in memory whose goroutine can't be stopped without a data race.
	rig.Main(m, goleak.IgnoreTopFunction("github.com/alexedwards/scs/v2/memstore.(*MemStore).startCleanup"))
}

// place is a server or a cluster.
type place struct {
	url     string
	servers []*rig.Server
}

// subject prepares a work with one library, and returns its operation.
type subject func(b *testing.B, p place, c callers.Case) operation

// operation is one call. caller is the number of the goroutine, i the number of the call. ended
// reports whether no further call starts: an operation that needs another caller returns errEnded
// then.
type operation func(caller int, i int64, ended func() bool) error

// subjects has the two libraries of each work, by the name of the work.
var subjects = map[string]struct{ redstart, rival subject }{
	"hit":     {cacheHit, rivalHit},
	"miss":    {cacheMiss, rivalMiss},
	"set":     {cacheSet, rivalSet},
	"lock":    {lockOwn, rivalOwn},
	"handoff": {lockHandoff, rivalHandoff},
	"gcra":    {gcra, rivalGCRA},
	"load":    {sessionLoad, rivalLoad},
	"live":    {liveDelivery, rivalLive},
	"publish": {durablePublish, rivalPublish},
	"consume": {durableConsume, rivalConsume},
	"execute": {execute, rivalExecute},
}

// BenchmarkCallers runs every case of callers.Works: first Redstart, then the rival.
func BenchmarkCallers(b *testing.B) {
	rig.Need(b, rig.TierServer)
	places := map[string]func() place{callers.Standalone: standalone(b), callers.Cluster: cluster(b)}
	for _, work := range callers.Works {
		b.Run(work.Name, func(b *testing.B) {
			for _, c := range work.Cases() {
				b.Run(c.String(), func(b *testing.B) {
					both := subjects[work.Name]
					b.Run(callers.Redstart, func(b *testing.B) { measure(b, places[c.Place](), work, c, both.redstart) })
					b.Run(callers.Rival, func(b *testing.B) { measure(b, places[c.Place](), work, c, both.rival) })
				})
			}
		})
	}
}

// standalone returns a function that starts the server on first use. The server accepts 128 events
// of 1 MB that a subscriber has not read.
func standalone(b *testing.B) func() place {
	return sync.OnceValue(func() place {
		server := rig.Standalone(b, "--client-output-buffer-limit", "pubsub", "0", "0", "0")
		return place{server.URL(), []*rig.Server{server}}
	})
}

// cluster returns a function that starts the cluster on first use.
func cluster(b *testing.B) func() place {
	return sync.OnceValue(func() place {
		shared := rig.SharedCluster(b)
		return place{shared.URL(), shared.Primaries()}
	})
}

// empty deletes everything, so that events of 1 MB of one case are not in memory in the next one.
func (p place) empty(b *testing.B) {
	for _, server := range p.servers {
		if _, err := server.Do("FLUSHALL"); err != nil {
			b.Fatal(err)
		}
	}
}

// client opens a client of Redstart.
func (p place) client(b *testing.B) *redstart.Client {
	return rigclient.Open(b, p.url, rig.Prefix(b), rigclient.Within(30*time.Second))
}

// goredis opens a client of go-redis, for a cluster if there are several addresses.
func (p place) goredis(b *testing.B) redis.UniversalClient {
	var addrs []string
	for _, server := range p.servers {
		addrs = append(addrs, server.Addr())
	}
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: addrs, PoolSize: 128,
		ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second})
	b.Cleanup(func() { _ = client.Close() })
	return client
}
