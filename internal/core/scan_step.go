package core

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/redstart-go/redstart/internal/endpoint"
	"github.com/redstart-go/redstart/internal/fault"
)

// ScanPosition is where a scan of all primaries continues: the address of a primary, and the cursor
// of SCAN on it. The zero value is the begin. Outside a cluster, Node is empty.
type ScanPosition struct {
	Node, Cursor string
}

// ScanStep sends one SCAN to one primary: one round trip. It returns the keys that match pattern,
// the position of the next step, and whether this was the last step.
//
// The primaries are scanned in the order of their addresses. If the primary of at has left the
// cluster, the scan continues with the primary after it. Keys that moved to an earlier primary in
// the meantime are not seen. A key may occur in several steps.
func (c *Core) ScanStep(ctx context.Context, at ScanPosition, pattern string, count int64) (
	found []string, next ScanPosition, last bool, err error) {
	due := c.due()
	if err := c.begin(ctx, due); err != nil {
		return nil, at, false, err
	}
	nodes := c.scanOrder()
	place := 0
	if c.cluster() {
		place, _ = slices.BinarySearchFunc(nodes, at.Node, func(n *node, addr string) int { return cmp.Compare(n.addr, addr) })
		if place == len(nodes) {
			return nil, ScanPosition{}, true, nil
		}
		if nodes[place].addr != at.Node {
			at = ScanPosition{nodes[place].addr, ""}
		}
	}

	found, cursor, err := c.scanOnce(ctx, nodes[place], at.Cursor, pattern, count)
	switch {
	case err != nil:
		return nil, at, false, err
	case cursor != "0":
		return found, ScanPosition{at.Node, cursor}, false, nil
	case place+1 < len(nodes):
		return found, ScanPosition{nodes[place+1].addr, ""}, false, nil
	}
	return found, ScanPosition{}, true, nil
}

// scanOrder returns the primaries in the order of their addresses.
func (c *Core) scanOrder() []*node {
	nodes := c.allNodes()
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.addr, b.addr) })
	return nodes
}

// scanOnce sends one SCAN to a node.
func (c *Core) scanOnce(ctx context.Context, n *node, cursor, pattern string, count int64) (
	found []string, next string, err error) {
	r := request{Command: ReadAt("", "SCAN", cmp.Or(cursor, "0"), "MATCH", pattern, "COUNT",
		strconv.FormatInt(count, 10)), slot: -1, to: n}
	reply, err := c.do(ctx, ordinary, &r, c.due())
	if errors.Is(err, fault.ErrDenied) {
		return nil, "", fault.New(fault.ErrDenied, err, "this needs the ACL rule +scan: see deploy/acl/redstart-scan.acl")
	}
	if err != nil {
		return nil, "", err
	}

	parts, err := reply.ToTuple(2)
	if err != nil {
		return nil, "", err
	}
	if found, err = parts[1].AsStrSlice(); err != nil {
		return nil, "", err
	}
	next, err = parts[0].ToString()
	return found, next, err
}

// DoAt runs one command that changes nothing and has no key on the primary with an address, which
// [Core.Nodes] returned: one round trip.
func (c *Core) DoAt(ctx context.Context, addr, name string, args ...string) (Reply, error) {
	if err := c.begin(ctx, c.due()); err != nil {
		return Reply{}, err
	}
	for _, n := range c.allNodes() {
		if n.addr == addr {
			r := request{Command: ReadAt("", name, args...), slot: -1, to: n}
			return c.do(ctx, ordinary, &r, c.due())
		}
	}
	return Reply{}, fault.New(fault.ErrUnavailable, errors.New("the node "+addr+" is not known any more"), "")
}

// KeyCount returns the number of keys in the client's database on all primaries: one round trip
// each. known is false if a server does not report it.
func (c *Core) KeyCount(ctx context.Context) (total int64, known bool, err error) {
	if err := c.begin(ctx, c.due()); err != nil {
		return 0, false, err
	}
	own := "db" + strconv.Itoa(c.opt.Endpoint.DB) + ":keys="
	for _, n := range c.allNodes() {
		text, err := c.infoOf(ctx, n, "keyspace")
		if err != nil {
			return 0, false, err
		}
		_, after, ok := strings.Cut(text, own)
		if !ok {
			known = known || strings.Contains(text, "# Keyspace") // the database is empty
			continue
		}
		digits, _, _ := strings.Cut(after, ",")
		keys, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, false, fault.New(fault.ErrCorrupt, err, "the reply to INFO keyspace is malformed")
		}
		total, known = total+keys, true
	}
	return total, known, nil
}

// InfoAt returns the sections of INFO of the primary with an address, which [Core.Nodes] returned:
// one round trip.
func (c *Core) InfoAt(ctx context.Context, addr string, sections ...string) (string, error) {
	reply, err := c.DoAt(ctx, addr, "INFO", sections...)
	if err != nil {
		return "", err
	}
	return reply.ToString()
}

func (c *Core) infoOf(ctx context.Context, n *node, section string) (string, error) {
	r := request{Command: ReadAt("", "INFO", section), slot: -1, to: n}
	reply, err := c.do(ctx, ordinary, &r, c.due())
	if err != nil {
		return "", err
	}
	return reply.ToString()
}

// Mode returns how the servers are found: standalone, sentinel or cluster.
func (c *Core) Mode() string {
	switch c.opt.Endpoint.Mode {
	case endpoint.Cluster:
		return "cluster"
	case endpoint.Sentinel:
		return "sentinel"
	}
	return "standalone"
}
