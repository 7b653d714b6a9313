package inspect

import (
	"context"
	"strconv"
)

// maxName is the longest name that an object of a pattern can have, in bytes. Longer names are in
// keys of other programs.
const maxName = 128

// names returns one page of the names of a pattern's objects, found by their keys. glob selects the
// part of the keys after the prefix of the pattern. A page has each name once.
func names(ctx context.Context, in *Inspector, kind, pattern, glob string, p Page) (List[string], error) {
	space, err := in.core.Keys(pattern, "")
	if err != nil {
		return List[string]{}, err
	}
	seen := map[string]bool{}
	return scan(ctx, in, kind, space.Prefix()+glob, p, func(_ context.Context, found []string) (fresh []string, _ error) {
		for _, key := range found {
			name, ok := space.NameOf(key)
			if !ok || name == "" || len(name) > maxName || seen[name] {
				continue
			}
			seen[name] = true
			fresh = append(fresh, name)
		}
		return fresh, nil
	})
}

// mapList returns a list with converted items.
func mapList[A, B any](list List[A], convert func(A) B) List[B] {
	to := List[B]{Items: make([]B, 0, len(list.Items)), Next: list.Next, Scanned: list.Scanned, Complete: list.Complete}
	for _, item := range list.Items {
		to.Items = append(to.Items, convert(item))
	}
	return to
}

// maxOffset bounds an offset, so that the sum of it and a limit is an int. No list has more items.
const maxOffset = 1 << 30

// offsetOf returns the offset in a cursor of a list that is read by offset.
func offsetOf(cursor, kind string) (int, error) {
	parts, err := partsOf(cursor, kind, 1)
	if err != nil || parts == nil {
		return 0, err
	}
	offset, err := strconv.Atoi(parts[0])
	if err != nil || offset < 0 || offset > maxOffset {
		return 0, ErrBadCursor
	}
	return offset, nil
}
