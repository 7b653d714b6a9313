package facts_test

import (
	"slices"
	"testing"

	"github.com/redstart-go/redstart/internal/facts"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		info  string
		want  facts.Capabilities
		codes []string
	}{
		"redis 7.0": {"redis_version:7.0.15\r\nmaxmemory:0\r\n",
			facts.Capabilities{Server: "redis", Version: "7.0.15", ShardedPubSub: true}, nil},
		"redis 7.2": {"redis_version:7.2.0\r\n", facts.Capabilities{Server: "redis", Version: "7.2.0",
			ShardedPubSub: true, WaitAOF: true}, nil},
		"redis 8.4": {"redis_version:8.4.0\r\n", facts.Capabilities{Server: "redis", Version: "8.4.0",
			ShardedPubSub: true, WaitAOF: true, SetIfEqual: true, StreamClaim: true}, nil},
		"redis 10": {"redis_version:10.0.1\r\n",
			facts.Capabilities{Server: "redis", Version: "10.0.1", ShardedPubSub: true, WaitAOF: true,
				SetIfEqual: true, StreamClaim: true}, nil},
		"redis 6.2": {"redis_version:6.2.6\r\n", facts.Capabilities{Server: "redis", Version: "6.2.6"}, []string{"version"}},
		"valkey 8.1": {"redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n",
			facts.Capabilities{Server: "valkey", Version: "8.1.0", ShardedPubSub: true, WaitAOF: true,
				SetIfEqual: true}, nil},
		"valkey 7.2": {"redis_version:7.2.4\r\nvalkey_version:7.2.8\r\n",
			facts.Capabilities{Server: "valkey", Version: "7.2.8", ShardedPubSub: true, WaitAOF: true}, nil},
		"embedded": {"redis_version:7.0\r\nredstart_embedded:1\r\naof_enabled:0\r\n",
			facts.Capabilities{Server: "embedded", Version: "7.0", ShardedPubSub: true}, nil},
		"settings": {
			"redis_version:7.0.15\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\nrole:slave\r\n",
			facts.Capabilities{Server: "redis", Version: "7.0.15", ShardedPubSub: true},
			[]string{"eviction", "persistence", "replica"},
		},
		"an odd version": {"redis_version:unstable\r\n",
			facts.Capabilities{Server: "redis", Version: "unstable"}, []string{"version"}},
	} {
		got, inCluster := facts.Parse(test.info)
		var codes []string
		for _, w := range got.Warnings {
			codes = append(codes, w.Code)
		}
		if got.Capabilities != test.want || !slices.Equal(codes, test.codes) || inCluster {
			t.Errorf("%s: %+v, %v, %v, want %+v, %v", name, got.Capabilities, codes, inCluster, test.want, test.codes)
		}
	}
	if _, inCluster := facts.Parse("redis_version:7.0.15\r\ncluster_enabled:1\r\n"); !inCluster {
		t.Error("inCluster is false for a node of a cluster")
	}
}

// And returns the features of the older of two nodes, in either order.
func TestAnd(t *testing.T) {
	t.Parallel()
	old, _ := facts.Parse("redis_version:7.0.9\r\naof_enabled:0\r\n")
	fresh, _ := facts.Parse("redis_version:7.0.15\r\naof_enabled:0\r\nmaxmemory:1\r\nmaxmemory_policy:volatile-ttl\r\n")
	newest, _ := facts.Parse("redis_version:8.4.0\r\n")
	fresh.Capabilities.Tracking = true
	for _, all := range [][]*facts.Facts{{old, fresh, newest}, {newest, fresh, old}, {fresh, newest, old}} {
		var both *facts.Facts
		for _, f := range all {
			both = both.And(f)
		}
		if want := (facts.Capabilities{Server: "redis", Version: "7.0.9",
			ShardedPubSub: true}); both.Capabilities != want || len(both.Warnings) != 2 {
			t.Errorf("%+v, %v, want %+v and 2 warnings", both.Capabilities, both.Warnings, want)
		}
	}
	if fresh.And(nil) != fresh {
		t.Error("the facts of one node and nil are not the facts of the node")
	}
}
