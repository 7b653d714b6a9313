package convoy

const (
	Ahead   = ahead
	Abreast = abreast
)

// State is how many calls are away, and how many callers wait for one to be back.
func (v *Convoy) State() (away, waiting int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.queue {
		waiting += len(r.keys) - r.left
	}
	return v.away, waiting
}
