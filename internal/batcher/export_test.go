package batcher

const (
	MaxInFlight = maxInFlight
	MaxKeys     = maxKeys
)

// State returns how many calls are in flight and how many callers wait in the queue.
func (b *Batcher) State() (inFlight, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()

	for _, queued := range b.queue {
		waiting += len(queued.keys) - queued.left
	}
	return b.inFlight, waiting
}
