package clock

// PruneMin is pruneMin.
const PruneMin = pruneMin

// Timers returns how many timers a source remembers.
func Timers(s *Source) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.timers)
}
