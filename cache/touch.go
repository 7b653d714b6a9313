package cache

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// A generation is read once, and then known until the server pushes its change. A server that evicts would take it for unused, and
// with it end all entries that depend on it, however much those are used. So generations in use are read again every 5 s. A read
// neither changes them nor causes a push.

// touchAfter is how long a record that is used may look unused.
const touchAfter = 5 * time.Second

// due reports, to one of those who use the record, that it is time to touch it.
func (r *record) due(now, after time.Duration) bool {
	last := r.touched.Load()
	return int64(now)-last >= int64(after) && r.touched.CompareAndSwap(last, int64(now))
}

// touch reads records in the background.
func (s *store) touch(refs ...ref) {
	s.life.group.Go(s.touchName, func(ctx context.Context) {
		for begin := 0; begin < len(refs); begin += chunk {
			part := refs[begin:min(begin+chunk, len(refs))]
			cmds := make([]core.Command, len(part))
			for i, r := range part {
				cmds[i] = core.Read("GET", s.space.Sibling(r.tag, r.kind))
			}
			s.core.DoMulti(ctx, cmds...) // on the main connection, which tracks nothing; if it fails it is done again
		}
	})
}
