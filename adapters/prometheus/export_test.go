package redstartprom

// SeriesOf returns the number of series that an observer keeps.
func SeriesOf(o *Observer) int {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.series)
}
