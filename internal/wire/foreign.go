package wire

import "github.com/redis/rueidis"

// Foreign converts a reply from the client library.
func Foreign(m *rueidis.RedisMessage) Reply {
	switch {
	case m.IsNil():
		return Reply{}
	case m.IsInt64():
		n, _ := m.ToInt64()
		return Reply{kind: kindInt, n: n}
	case m.IsString():
		text, _ := m.ToString()
		return Reply{kind: kindText, text: text}
	case m.IsArray():
		elems, _ := m.ToArray()
		r := Reply{kind: kindArray, elems: make([]Reply, len(elems))}
		for i := range elems {
			r.elems[i] = Foreign(&elems[i])
		}
		return r
	case m.IsMap():
		all, _ := m.ToMap()
		r := Reply{kind: kindMap, elems: make([]Reply, 0, 2*len(all))}
		for key, value := range all {
			r.elems = append(r.elems, Reply{kind: kindText, text: key}, Foreign(&value))
		}
		return r
	case m.IsBool():
		if yes, _ := m.ToBool(); yes {
			return Reply{kind: kindInt, n: 1}
		}
		return Reply{kind: kindInt}
	}
	if err := m.Error(); err != nil {
		return Reply{kind: kindError, text: err.Error()}
	}
	text, _ := m.ToString() // a double, a big number, verbatim text
	return Reply{kind: kindText, text: text}
}
