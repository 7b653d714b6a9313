package lifecycle

import (
	"context"
	"fmt"
	"sync"
)

// work counts the functions of [Group.Work] that run, in a group and its sub-groups.
type work struct {
	mu      sync.Mutex
	running map[string]int
	count   int
	settled chan struct{} // closed when count becomes 0; nil while no call waits
}

// Work is [Group.Go] for background work that ends without a signal: a refresh, a release, a
// charge. A loop that waits for something to do is not work.
func (g *Group) Work(name string, fn func(ctx context.Context)) bool {
	g.work.add(name, 1)
	started := g.Go(name, func(ctx context.Context) {
		defer g.work.add(name, -1)
		fn(ctx)
	})
	if !started {
		g.work.add(name, -1)
	}
	return started
}

// Settle waits until no background work runs. Work that starts other work before it ends is
// covered. The error names the work that runs when ctx ends.
func (g *Group) Settle(ctx context.Context) error {
	w := g.work
	w.mu.Lock()
	if w.count == 0 {
		w.mu.Unlock()
		return nil
	}
	if w.settled == nil {
		w.settled = make(chan struct{})
	}
	settled := w.settled
	w.mu.Unlock()

	select {
	case <-settled:
		return nil
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Errorf("still running: %s", namesOf(w.running))
}

func (w *work) add(name string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count += n
	if w.running[name] += n; w.running[name] == 0 {
		delete(w.running, name)
	}
	if w.count == 0 && w.settled != nil {
		close(w.settled)
		w.settled = nil
	}
}
