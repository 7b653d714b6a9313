package ratelimit_test

import (
	"net"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

const (
	failoverQuota = 300 // of each algorithm, for a year
	known         = 100 // charged while the replicas follow
	unknown       = 50  // charged while the replicas receive nothing
)

// drained takes tokens until none is left, and returns their number. Redis may be unavailable in
// the meantime.
func drained(t *testing.T, l *ratelimit.Limiter) (n int) {
	t.Helper()
	rig.Eventually(t, 60*time.Second, "a refusal by the new primary", func() bool {
		for {
			r, err := l.Allow(t.Context(), "k")
			if err != nil {
				return false // FailClosed: not admitted
			}
			if !r.Allowed {
				return true
			}
			n++
		}
	})
	return n
}

func failoverLimiters(t *testing.T, url string) (limiters []*ratelimit.Limiter) {
	t.Helper()
	client := open(t, url, rig.Prefix(t))
	for _, a := range all {
		l, err := ratelimit.New(client, "failover "+a.String(), ratelimit.Options{
			Algorithm: a, Outage: ratelimit.FailClosed, Rules: []ratelimit.Rule{{Name: "r", Limit: failoverQuota, Window: year}},
		})
		if err != nil {
			t.Fatal(err)
		}
		limiters = append(limiters, l)
	}
	return limiters
}

func charge(t *testing.T, limiters []*ratelimit.Limiter, n int64) {
	t.Helper()
	for _, l := range limiters {
		if r := allow(t, l, "k", n); !r.Allowed || r.Degraded {
			t.Fatalf("%+v", r)
		}
	}
}

// TestR1_AFailoverAdmitsLostChargesAgain shows the limit of R1. Charges that the promoted replica
// had not received are admitted once more, and no other tokens.
func TestR1_AFailoverAdmitsLostChargesAgain(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	set := rig.NewSentinel(t)
	old := set.Primary()
	timeout := func(ms string) {
		for _, sentinel := range set.Sentinels() {
			sentinel.CLI("SENTINEL", "SET", rig.MasterName, "failover-timeout", ms)
		}
	}
	timeout("60000") // the sentinels correct a replica behind a proxy after this time
	var links []*rig.Proxy
	follows := func() bool {
		for _, r := range set.Servers() {
			if r != old && (r.Info("master_link_status") != "up" ||
				r.Info("slave_repl_offset") != old.Info("master_repl_offset")) {
				return false
			}
		}
		for _, link := range links {
			if link.Open() == 0 {
				return false
			}
		}
		return true
	}
	for _, r := range set.Servers() {
		if r != old {
			link := rig.NewProxy(t, old.Addr())
			_, port, err := net.SplitHostPort(link.Addr())
			if err != nil {
				t.Fatal(err)
			}
			r.CLI("REPLICAOF", "127.0.0.1", port)
			links = append(links, link)
		}
	}
	limiters := failoverLimiters(t, set.URL())
	charge(t, limiters, known)
	rig.Eventually(t, 30*time.Second, "the replicas have what was charged", follows)
	for _, link := range links {
		link.Stall()
	}
	charge(t, limiters, unknown)
	timeout("2000")
	old.Kill()
	set.NextPrimary(old, 60*time.Second)
	for i, l := range limiters {
		switch n := known + unknown + drained(t, l); {
		case n > failoverQuota+unknown:
			t.Errorf("%v: %d admitted of %d: more than the %d that no replica had", all[i], n, failoverQuota, unknown)
		case n <= failoverQuota:
			t.Errorf("%v: %d admitted of %d: this run did not show the limit", all[i], n, failoverQuota)
		default:
			t.Logf("%v: %d admitted of %d; %d were charged while no replica listened", all[i], n, failoverQuota, unknown)
		}
	}
}

// TestR1_AHandoverInAClusterAdmitsNoMore: a primary that hands its slots over loses no charge.
func TestR1_AHandoverInAClusterAdmitsNoMore(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cluster := rig.NewCluster(t)
	limiters := failoverLimiters(t, cluster.URL())
	charge(t, limiters, known)
	for _, primary := range cluster.Primaries() {
		cluster.Failover(primary)
	}
	for i, l := range limiters {
		// A charge without an answer was not admitted, and it may count.
		if n := known + drained(t, l); n > failoverQuota || n < failoverQuota-20 {
			t.Errorf("%v: %d admitted of %d", all[i], n, failoverQuota)
		}
	}
}
