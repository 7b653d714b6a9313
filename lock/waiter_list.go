package lock

// waiterList is the waiters of this process for one name, in order of arrival. A waiter is removed
// in constant time: thousands of contexts that end at once must not block the mutex that all
// waiters share.
type waiterList struct {
	ids   []string       // "" for a removed waiter
	index map[string]int // waiter → index in ids
}

func (w *waiterList) len() int { return len(w.index) }

func (w *waiterList) add(id string) {
	if w.index == nil {
		w.index = make(map[string]int)
	}
	w.index[id] = len(w.ids)
	w.ids = append(w.ids, id)
}

func (w *waiterList) remove(id string) {
	i, ok := w.index[id]
	if !ok {
		return
	}

	delete(w.index, id)
	w.ids[i] = ""
	if len(w.ids) > 2*heartbeatSample && len(w.index) < len(w.ids)/2 {
		w.ids = w.list()
		for i, id := range w.ids {
			w.index[id] = i
		}
	}
}

// list returns a copy of the waiters.
func (w *waiterList) list() []string {
	ids := make([]string, 0, len(w.index))
	for _, id := range w.ids {
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// first returns the first waiter of a kind, or "".
func (w *waiterList) first(kind byte) string {
	for _, id := range w.ids {
		if id != "" && id[0] == kind {
			return id
		}
	}
	return ""
}

// sample returns the first heartbeatSample waiters, and as many of the others in turn.
func (w *waiterList) sample(cursor *int) []string {
	ids := make([]string, 0, min(len(w.index), 2*heartbeatSample))
	i := 0
	for ; i < len(w.ids) && len(ids) < heartbeatSample; i++ {
		if w.ids[i] != "" {
			ids = append(ids, w.ids[i])
		}
	}

	rest := w.ids[i:]
	for n := len(ids) + min(len(w.index)-len(ids), heartbeatSample); len(ids) < n; {
		*cursor = (*cursor + 1) % len(rest)
		if id := rest[*cursor]; id != "" {
			ids = append(ids, id)
		}
	}

	return ids
}
