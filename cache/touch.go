package cache

import (
	"context"
	"time"

	"github.com/redstart-go/redstart/internal/core"
)

// A record is read once, and then known until the server tells that it has changed. To a server that evicts what was not
// used lately it would look like something that nobody wants, and with it would end all entries that it guards, however
// much those are used. So whoever goes by a record has it read now and then: that neither changes it nor tells anybody.

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
