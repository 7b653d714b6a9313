package core_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// A frozen server accepts connections and answers nothing. The client opens through the other seeds
// within its command timeout, for every frozen seed, and calls to healthy nodes work.
func TestOpenWithAFrozenSeed(t *testing.T) {
	t.Parallel()
	cluster := rig.NewCluster(t, rig.NoReplicas(),
		rig.NodeArgs("--cluster-require-full-coverage", "no", "--cluster-node-timeout", "60000"))
	primaries := cluster.Primaries()
	frozen := primaries[0]
	var healthy []string
	for key := range strings.SplitSeq("a b c d e f g h i j k l", " ") {
		if cluster.Primary(key) != frozen {
			healthy = append(healthy, key)
		}
	}
	frozen.Stop()
	defer frozen.Continue()
	for i := range primaries {
		addrs := []string{primaries[i].Addr(), primaries[(i+1)%3].Addr(), primaries[(i+2)%3].Addr()}
		c := open(t, "redis+cluster://"+strings.Join(addrs, ","), timeout(2*time.Second))
		for _, key := range healthy {
			if err := get(t.Context(), c, key); err != nil {
				t.Errorf("seeds %v: a key of a healthy node: %v", addrs, err)
			}
		}
	}
}

// A frozen sentinel delays only its own answer.
func TestOpenWithAFrozenSentinel(t *testing.T) {
	t.Parallel()
	s := rig.NewSentinel(t)
	first := s.Sentinels()[0]
	first.Stop()
	defer first.Continue()
	c := open(t, s.URL(), timeout(2*time.Second), func(o *core.Options) {
		for i, addr := range o.Endpoint.Addrs { // the frozen one first
			if addr == first.Addr() {
				o.Endpoint.Addrs[0], o.Endpoint.Addrs[i] = o.Endpoint.Addrs[i], o.Endpoint.Addrs[0]
			}
		}
	})
	if err := get(t.Context(), c, "k"); err != nil {
		t.Error(err)
	}
}
