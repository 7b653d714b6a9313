package inspect

import (
	"context"
	"time"
)

// The budget of one call that scans. One step asks one primary to examine scanStep keys, which
// takes it less than a millisecond.
const (
	scanKeys  = 100_000
	scanTime  = 400 * time.Millisecond
	scanStep  = 1000
	scanFirst = 100 // the first step, and each step after one that found items
)

// scan reads one page of a list of items that are found by the names of their keys. kind names the
// list in its cursors. pattern is a glob of SCAN. visit receives the keys of one step, which may
// repeat keys of earlier steps, and returns the items that they stand for. It may send commands.
//
// The page ends with the step that reaches the limit of items, the budget of keys, or the budget of
// time. So it never loses an item of a step.
func scan[T any](ctx context.Context, in *Inspector, kind, pattern string, p Page,
	visit func(ctx context.Context, found []string) ([]T, error)) (List[T], error) {
	list := List[T]{Items: []T{}}
	limit, err := p.limit()
	if err != nil {
		return list, err
	}
	at, err := scanPosition(p, kind)
	if err != nil {
		return list, err
	}

	clock := in.core.Clock()
	end := clock.Exact() + scanTime
	step := min(limit, scanFirst)
	for {
		found, next, last, err := in.core.ScanStep(ctx, at, pattern, int64(step))
		if err != nil {
			return list, err
		}
		list.Scanned += step
		items, err := visit(ctx, found)
		if err != nil {
			return list, err
		}

		list.Items = append(list.Items, items...)
		if last {
			list.Complete = p.Cursor == ""
			return list, nil
		}
		if at = next; len(list.Items) >= limit || list.Scanned >= scanKeys || clock.Exact() >= end {
			list.Next = cursorOf(kind, at.Node, at.Cursor)
			return list, nil
		}
		step = nextStep(step, len(items), limit-len(list.Items))
	}
}

// nextStep returns the size of the step after one that found items. While items are rare, steps
// grow; when they are frequent, a step examines about as many keys as items are left to find.
func nextStep(step, found, left int) int {
	if found == 0 {
		return min(2*step, scanStep)
	}
	return min(max(step*left/found, 1), 2*step, scanStep)
}
