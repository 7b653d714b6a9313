package lifecycle

// Resting is how many goroutines wait for work.
func (g *Group) Resting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.rest.idle)
}
