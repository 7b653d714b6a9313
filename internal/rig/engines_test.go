package rig_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestEngines(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 16)
	t.Cleanup(func() {
		close(seen)
		var names []string
		for name := range seen {
			names = append(names, name)
		}
		want := []string{"embedded"}
		if rig.Includes(rig.TierServer) {
			want = append(want, "standalone", "cluster")
		}
		if rig.Includes(rig.TierAll) {
			want = append(want, "sentinel", "acl", "acl-scan")
		}
		for _, name := range want {
			if !slices.Contains(names, name) {
				t.Errorf("engines run: %v, want %v", names, want)
			}
		}
	})
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		seen <- e.Name
		option := rueidis.ClientOption{DisableCache: true}
		switch {
		case e.Cluster != nil:
			option.InitAddress = []string{e.Cluster.Nodes()[0].Addr()}
		case e.Sentinel != nil:
			option.Sentinel.MasterSet = rig.MasterName
			for _, s := range e.Sentinel.Sentinels() {
				option.InitAddress = append(option.InitAddress, s.Addr())
			}
		default:
			parsed, err := rueidis.ParseURL(e.URL)
			if err != nil {
				t.Fatal(err)
			}
			option = parsed
			option.DisableCache = true
		}
		client, err := rueidis.NewClient(option)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := do(client, "SET", e.Namespace+":k", "v", "PX", "10000"); err != nil {
			t.Fatal(err)
		}
		// A second key space is only refused under the ACL users.
		err = do(client, "SET", "other-"+e.Namespace, "v", "PX", "10000")
		if acl := strings.HasPrefix(e.Name, "acl"); (err != nil) != acl {
			t.Errorf("key outside of the namespace: %v", err)
		}
	})
}
