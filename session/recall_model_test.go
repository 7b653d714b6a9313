package session_test

import "fmt"

// rotation are the arguments of a recall.
type rotation struct {
	most                int
	refuse, previous    bool
	grace, use          int64
	version, hash, body string
}

// recall starts a session for a remember-me token, with a relative deadline, and replaces the
// secret of the token.
func (m *slotModel) recall(token, expected string, w rotation, id string, draft row) string {
	r := m.rows[token]
	if !r.live() || r.kind != 'r' || r.end(m.now()) <= m.now() {
		return "G"
	}
	if r.version != expected {
		return "C" + r.text()
	}
	linked := m.rows[r.link]
	if linked != nil && (linked.short || linked.format != '2') {
		linked = nil
	}
	if w.previous && linked.is('L') && linked.kind == 'u' {
		if m.now()-r.touched < w.grace {
			return "S" + r.link + linked.text()
		}
		if linked.touched-linked.created/1000 > w.use {
			m.both(token)
			return "R"
		}
	}
	if answer := m.unfit(draft); answer != "" {
		return answer
	}
	if w.most > 0 && w.refuse && len(m.sessions(r.link)) >= w.most {
		return "F"
	}
	draft.link = token
	m.begin(id, draft)
	next := *r
	next.state, next.version, next.touched, next.link, next.hash, next.body = 'R', w.version, m.now(), id, w.hash, w.body
	m.store(token, next, r.end(m.now()))
	if linked != nil {
		m.finish(r.link)
	}
	return fmt.Sprintf("D%016d%s", m.micros, m.displace(w.most, id))
}
