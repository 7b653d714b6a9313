package cache

// Source says where the answer of a call came from.
type Source uint8

const (
	// FromLoader is a miss: what answered is the loader's, run for this call or for another that it waited for, in this
	// process or in another.
	FromLoader Source = iota
	FromNear          // this process' memory
	FromServer        // fresh, from the server
	FromStale         // past its TTL
)

// String returns what the counters call it: "miss", "near", "hit" or "stale".
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

// From has GetOrLoad write to source where its answer came from, a value or ErrNotFound. With another error, source means
// nothing. Set, batches, memos and Adjust take no notice of it.
func From(source *Source) CallOption { return CallOption{kind: fromOption, from: source} }

// tell answers From. The pointer stays in the options: in settings it would make them escape, and hits allocate.
func tell(opts []CallOption, s Source) {
	for i := range opts {
		if from := opts[i].from; from != nil {
			*from = s
		}
	}
}
