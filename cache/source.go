package cache

// Source is where the answer of a call came from.
type Source uint8

const (
	// FromLoader is a miss: a loader ran, for this call or for another call that this one waited
	// for, in any process.
	FromLoader Source = iota
	FromNear          // the near cache
	FromServer        // fresh, from the server
	FromStale         // past its TTL
)

// String returns the label of the metric redstart.cache.requests: "miss", "near", "hit" or "stale".
func (s Source) String() string {
	switch s {
	case FromNear:
		return "near"
	case FromServer:
		return "hit"
	case FromStale:
		return "stale"
	}
	return "miss"
}

// From makes GetOrLoad and Refresh write to source where their answer came from: a value or
// ErrNotFound. With another error, *source has no meaning. Other calls ignore From.
func From(source *Source) CallOption { return CallOption{kind: fromOption, from: source} }

// writeSource writes the source for From. The pointer stays in the options: in settings, it would
// escape, and hits would allocate.
func writeSource(opts []CallOption, s Source) {
	for i := range opts {
		if from := opts[i].from; from != nil {
			*from = s
		}
	}
}
