package inspect

import "context"

// ScanKeys lists the keys that match a pattern, for the tests of pages.
func (in *Inspector) ScanKeys(ctx context.Context, pattern string, p Page) (List[string], error) {
	return scan(ctx, in, "keys", pattern, p, func(_ context.Context, found []string) ([]string, error) { return found, nil })
}

// Repair runs a repair, for the tests of the log.
func (in *Inspector) Repair(ctx context.Context, pattern, verb, object, part string,
	do func(ctx context.Context) (int64, error)) (int64, error) {
	return in.repair(ctx, repair{pattern, verb, object, part}, do)
}

// NodeOf returns a node with the fields of a reply to INFO.
func NodeOf(info string) Node {
	n := Node{Addr: "node:1", Breaker: "closed"}
	n.read(infoOf(info))
	return n
}

// FindingsOf returns what Doctor finds about one node.
func FindingsOf(n *Node, mode string) []Finding { return n.findings(mode) }

// The budget of a scan.
const (
	MaxScanned = scanKeys
	ScanStep   = scanStep
)
