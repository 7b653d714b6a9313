package lifecycle

// Waiting returns how many goroutines wait for a task.
func (g *Group) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.reuse.idle)
}
