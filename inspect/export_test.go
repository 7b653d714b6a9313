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

// The budget of a scan.
const (
	MaxScanned = scanKeys
	ScanStep   = scanStep
)
