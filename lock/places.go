package lock

// places are the waiters of a process for one name, in order of arrival. A waiter leaves in constant time: thousands whose contexts end at once
// must not hold up the lock that all waiters share.
type places struct {
	ids []string       // "" where a waiter has left
	at  map[string]int // a waiter's index in ids
}

func (p *places) len() int { return len(p.at) }

func (p *places) add(id string) {
	if p.at == nil {
		p.at = make(map[string]int)
	}
	p.at[id] = len(p.ids)
	p.ids = append(p.ids, id)
}

func (p *places) remove(id string) {
	i, ok := p.at[id]
	if !ok {
		return
	}
	delete(p.at, id)
	p.ids[i] = ""
	if len(p.ids) > 2*lineSample && len(p.at) < len(p.ids)/2 {
		p.ids = p.list()
		for i, id := range p.ids {
			p.at[id] = i
		}
	}
}

// list returns a copy of the waiters.
func (p *places) list() []string {
	ids := make([]string, 0, len(p.at))
	for _, id := range p.ids {
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// first is the first waiter of a kind, "" if there is none.
func (p *places) first(kind byte) string {
	for _, id := range p.ids {
		if id != "" && id[0] == kind {
			return id
		}
	}
	return ""
}

// sample returns the first lineSample waiters, and as many of the others in turn.
func (p *places) sample(turn *int) []string {
	ids := make([]string, 0, min(len(p.at), 2*lineSample))
	i := 0
	for ; i < len(p.ids) && len(ids) < lineSample; i++ {
		if p.ids[i] != "" {
			ids = append(ids, p.ids[i])
		}
	}
	rest := p.ids[i:]
	for n := len(ids) + min(len(p.at)-len(ids), lineSample); len(ids) < n; {
		*turn = (*turn + 1) % len(rest)
		if id := rest[*turn]; id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}
