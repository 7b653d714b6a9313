package inspect_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

// A partition with a key of another program does not hide the others: its problem is shown, and the
// events and counts of the others are complete. If no partition can be read, that is an error.
func TestEventsShowTheOtherPartitions(t *testing.T) {
	t.Parallel()
	namespace := rig.Prefix(t)
	client := open(t, rig.Shared(t).URL(), namespace)
	bus, conn := newBus(t, client, "orders"), rig.Shared(t).Conn(t)
	const n = 12
	kill(t, bus, "mail", n)
	for i := range n {
		must(t, orders.Publish(t.Context(), bus, fmt.Sprintf("order:%d", i), order{N: i}))
	}
	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	must(t, err)
	whole := look(t, in, 0)
	if whole.group.Unread != n || whole.group.Dead != n {
		t.Fatalf("before: %+v", whole)
	}

	stream := func(partition int) string { return fmt.Sprint(namespace, ":events:orders:{", partition, "}") }
	lost := whole.parts[2]
	conn.CLI("DEL", stream(2))
	conn.CLI("SET", stream(2), "another program")
	left := look(t, in, 1)
	if left.group.Unread != n-lost.Unread || left.group.Dead != n-lost.Dead || lost.Unread == 0 {
		t.Errorf("%d unread events and %d dead letters are left of %d, partition 2 had %d and %d",
			left.group.Unread, left.group.Dead, n, lost.Unread, lost.Dead)
	}
	if left.parts[2].Problem == "" || left.parts[1].Problem != "" || left.parts[1].Unread != whole.parts[1].Unread {
		t.Errorf("partitions %+v", left.parts)
	}

	for partition := range 4 {
		conn.CLI("DEL", stream(partition))
		conn.CLI("SET", stream(partition), "another program")
	}
	_, err1 := in.Events().Groups(t.Context(), "orders", inspect.Page{})
	_, err2 := in.Events().Partitions(t.Context(), "orders", "mail", inspect.Page{})
	_, err3 := in.Events().Peek(t.Context(), "orders", inspect.PeekOptions{}, inspect.Page{})
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("no partition can be read, and the error is %v", err)
		}
	}
}

// looked is what three calls show of the bus orders.
type looked struct {
	parts []inspect.PartitionInfo
	group inspect.GroupInfo
}

// look reads the bus, and checks how many partitions have a problem.
func look(t *testing.T, in *inspect.Inspector, problems int) (l looked) {
	t.Helper()
	parts, err := in.Events().Partitions(t.Context(), "orders", "mail", inspect.Page{})
	must(t, err)
	l.parts = parts.Items
	bad, stored := 0, int64(0)
	for _, p := range l.parts {
		stored += p.Events
		if p.Problem != "" {
			bad++
		}
	}
	groups, err := in.Events().Groups(t.Context(), "orders", inspect.Page{})
	must(t, err)
	if len(groups.Items) != 1 {
		t.Fatalf("groups %+v", groups.Items)
	}
	g := groups.Items[0]
	l.group = g
	text := fmt.Sprintf("%d of 4 partitions", problems)
	counted := strings.HasPrefix(g.Problem, text)
	one, err := in.Events().Group(t.Context(), "orders", "mail")
	must(t, err)
	list, err := in.Events().Peek(t.Context(), "orders", inspect.PeekOptions{}, inspect.Page{Limit: 500})
	must(t, err)
	if len(list.Items) == 0 || int64(len(list.Items)) > stored {
		t.Errorf("%d events are shown, the partitions have %d", len(list.Items), stored)
	}
	if bad != problems || counted != (problems > 0) || strings.HasPrefix(one.Problem, text) != counted || len(list.Problems) != problems ||
		list.Complete != (problems == 0) {
		t.Errorf("want %d partitions with a problem: %+v, group %q, peek %q, complete %v", problems, l.parts, g.Problem,
			list.Problems, list.Complete)
	}
	return l
}

// A node of a cluster is down: the partitions of the other nodes are shown.
func TestEventsShowPartitionsOfTheOtherNodes(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	cluster := rig.NewCluster(t, rig.NoReplicas(), rig.NodeArgs("--cluster-require-full-coverage", "no"))
	client := open(t, cluster.URL(), "app")
	bus := newBus(t, client, "orders")
	kill(t, bus, "mail", 12)
	for i := range 12 {
		must(t, orders.Publish(t.Context(), bus, fmt.Sprintf("order:%d", i), order{N: i}))
	}
	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
	must(t, err)
	look(t, in, 0)

	home := cluster.Primary("app:events:orders:{bus}")
	down := 0
	for partition := range 4 {
		if node := cluster.Primary(fmt.Sprint("app:events:orders:{", partition, "}")); node != nil && node != home {
			node.Kill()
			break
		}
	}
	for partition := range 4 {
		if cluster.Primary(fmt.Sprint("app:events:orders:{", partition, "}")) == nil {
			down++
		}
	}
	if down == 0 || down == 4 {
		t.Fatalf("%d of 4 partitions are down: the test needs another number", down)
	}
	rig.Eventually(t, 30*time.Second, "the other partitions are shown", func() bool {
		groups, err := in.Events().Groups(t.Context(), "orders", inspect.Page{})
		return err == nil && groups.Items[0].Problem != ""
	})
	look(t, in, down)
}
