package facts_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/redstart-go/redstart/internal/facts"
	"github.com/redstart-go/redstart/internal/rig"
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

// A huge INFO is read up to 256 KiB. The facts keep none of its memory, and at most 128 bytes of a
// value.
func TestParseHugeInfo(t *testing.T) {
	t.Parallel()
	const line = "db0:keys=1,expires=0\r\n"
	head := "redis_version:7.0.15" + strings.Repeat("x", 1000) + "\r\n"
	huge := []byte(head + strings.Repeat(line, (8<<20)/len(line)) + "aof_enabled:0\r\n")
	freed := make(chan struct{})
	runtime.AddCleanup(&huge[0], func(freed chan struct{}) { close(freed) }, freed)

	got, _ := facts.Parse(unsafe.String(&huge[0], len(huge)))
	if v := got.Capabilities.Version; len(v) != 128 || !strings.HasPrefix(v, "7.0.15xxx") {
		t.Errorf("version %.30q… of %d bytes, want 128", v, len(v))
	}
	if len(got.Warnings) != 0 {
		t.Errorf("%v, want nothing from beyond 256 KiB", got.Warnings)
	}
	rig.Eventually(t, 20*time.Second, "the reply is freed", func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	})
	runtime.KeepAlive(got)
}
