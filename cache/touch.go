package cache

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// After a generation was read, the server pushes its change. A server that evicts would see no use
// of it, and would evict it: all its entries would end. Generations in use are therefore read again
// every 5 s. A read changes nothing and causes no push.

// touchAfter is the time after which a generation in use is read again.
const touchAfter = 5 * time.Second

// due reports to one of its users that the generation is to be read again.
func (r *generation) due(now, after time.Duration) bool {
	last := r.touched.Load()
	return int64(now)-last >= int64(after) && r.touched.CompareAndSwap(last, int64(now))
}

// touch reads generations in the background.
func (s *store) touch(refs ...ref) {
	s.life.group.Work(s.touchName, func(ctx context.Context) {
		for begin := 0; begin < len(refs); begin += chunk {
			part := refs[begin:min(begin+chunk, len(refs))]
			cmds := make([]core.Command, len(part))
			for i, r := range part {
				cmds[i] = core.Read("GET", s.space.Sibling(r.tag, r.kind))
			}
			s.core.DoMulti(ctx, cmds...) // on the main connection, which tracks nothing; after a failure, the next use repeats it
		}
	})
}
