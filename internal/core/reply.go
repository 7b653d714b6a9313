package core

import (
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

// Reply is what a server answered to one command, decoded once. Its accessors return a classified error
// (package fault) when the reply has another shape than the one asked for. The zero Reply is a nil reply.
type Reply struct {
	kind  replyKind
	n     int64
	text  string
	elems []Reply // of a map: key, value, key, value, …
}

type replyKind uint8

const (
	kindNil replyKind = iota
	kindInt
	kindText
	kindArray
	kindMap
	kindError // as an element of an array; a whole reply that is an error is returned as an error
)

func (k replyKind) String() string {
	return [...]string{"nil", "an integer", "text", "an array", "a map", "an error"}[k]
}

// Result is one reply of DoMulti or EvalMulti, or the error of its command alone.
type Result struct {
	reply Reply
	err   error
}

// Get takes a result apart, as Do would have returned it.
func (r Result) Get() (Reply, error) { return r.reply, r.err }

// IsNil reports whether the server answered that there is nothing.
func (r *Reply) IsNil() bool { return r.kind == kindNil }

// IsArray reports whether the reply is a list of replies.
func (r *Reply) IsArray() bool { return r.kind == kindArray }

// Err is the classified error if the reply is an error within an array, else nil.
func (r *Reply) Err() error {
	if r.kind != kindError {
		return nil
	}
	return fault.Classify(fault.Answer(r.text), false)
}

// ToString returns text. The string keeps no more than itself alive.
func (r *Reply) ToString() (string, error) {
	if r.kind != kindText {
		return "", r.shape(kindText)
	}
	return r.text, nil
}

// AsBytes returns a copy of text.
func (r *Reply) AsBytes() ([]byte, error) {
	text, err := r.ToString()
	return []byte(text), err
}

// ToInt64 returns an integer that came as one.
func (r *Reply) ToInt64() (int64, error) {
	if r.kind != kindInt {
		return 0, r.shape(kindInt)
	}
	return r.n, nil
}

// AsInt64 returns an integer that came as one or as decimal text.
func (r *Reply) AsInt64() (int64, error) {
	if r.kind != kindText {
		return r.ToInt64()
	}
	n, err := strconv.ParseInt(r.text, 10, 64)
	if err != nil {
		return 0, r.shape(kindInt)
	}
	return n, nil
}

// ToArray returns the elements of a list.
func (r *Reply) ToArray() ([]Reply, error) {
	if r.kind != kindArray {
		return nil, r.shape(kindArray)
	}
	return r.elems, nil
}

// AsStrSlice returns the elements of a list as text: integers in decimal, nil as "".
func (r *Reply) AsStrSlice() ([]string, error) {
	elems, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	all := make([]string, len(elems))
	for i := range elems {
		switch e := &elems[i]; e.kind {
		case kindNil:
		case kindInt:
			all[i] = strconv.FormatInt(e.n, 10)
		default:
			if all[i], err = e.ToString(); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// AsIntSlice returns the elements of a list of integers.
func (r *Reply) AsIntSlice() ([]int64, error) {
	elems, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	all := make([]int64, len(elems))
	for i := range elems {
		if all[i], err = elems[i].AsInt64(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// AsMap returns a map, which servers without RESP3 and scripts send as a list of keys and values.
func (r *Reply) AsMap() (map[string]Reply, error) {
	if r.kind != kindMap && (r.kind != kindArray || len(r.elems)%2 != 0) {
		return nil, r.shape(kindMap)
	}
	m := make(map[string]Reply, len(r.elems)/2)
	for i := 0; i < len(r.elems); i += 2 {
		key, err := r.elems[i].ToString()
		if err != nil {
			return nil, err
		}
		m[key] = r.elems[i+1]
	}
	return m, nil
}

// StreamEntry is one entry of a stream.
type StreamEntry struct {
	ID          string
	FieldValues map[string]string // nil if the entry is pending and was deleted
}

// AsXRange returns the entries that XRANGE, XREVRANGE and XCLAIM answer.
func (r *Reply) AsXRange() ([]StreamEntry, error) {
	elems, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	all := make([]StreamEntry, len(elems))
	for i := range elems {
		pair, err := elems[i].ToArray()
		if err == nil && len(pair) != 2 {
			err = elems[i].shape(kindArray)
		}
		if err != nil {
			return nil, err
		}
		if all[i].ID, err = pair[0].ToString(); err != nil {
			return nil, err
		}
		if pair[1].IsNil() {
			continue
		}
		fields, err := pair[1].AsStrSlice()
		if err == nil && len(fields)%2 != 0 {
			err = pair[1].shape(kindMap)
		}
		if err != nil {
			return nil, err
		}
		all[i].FieldValues = make(map[string]string, len(fields)/2)
		for k := 0; k < len(fields); k += 2 {
			all[i].FieldValues[fields[k]] = fields[k+1]
		}
	}
	return all, nil
}

// AsXRead returns what XREAD and XREADGROUP answer: entries by stream.
func (r *Reply) AsXRead() (map[string][]StreamEntry, error) {
	pairs := r.elems
	if r.kind == kindArray { // RESP2: a list of pairs
		pairs = nil
		for i := range r.elems {
			if len(r.elems[i].elems) != 2 {
				return nil, r.elems[i].shape(kindArray)
			}
			pairs = append(pairs, r.elems[i].elems...)
		}
	} else if r.kind != kindMap {
		return nil, r.shape(kindMap)
	}
	all := make(map[string][]StreamEntry, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		stream, err := pairs[i].ToString()
		if err != nil {
			return nil, err
		}
		if all[stream], err = pairs[i+1].AsXRange(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// ScoredMember is one member of a sorted set.
type ScoredMember struct {
	Member string
	Score  float64
}

// AsZScores returns what ZRANGE … WITHSCORES answers.
func (r *Reply) AsZScores() ([]ScoredMember, error) {
	flat, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	if len(flat) > 0 && flat[0].kind == kindArray { // RESP3: a list of pairs
		pairs := flat
		flat = nil
		for i := range pairs {
			flat = append(flat, pairs[i].elems...)
		}
	}
	if len(flat)%2 != 0 {
		return nil, r.shape(kindMap)
	}
	all := make([]ScoredMember, len(flat)/2)
	for i := range all {
		if all[i].Member, err = flat[2*i].ToString(); err != nil {
			return nil, err
		}
		score, err := flat[2*i+1].ToString()
		if err != nil {
			return nil, err
		}
		if all[i].Score, err = strconv.ParseFloat(score, 64); err != nil {
			return nil, flat[2*i+1].shape(kindText)
		}
	}
	return all, nil
}

// String describes the reply for an error message. It shows no text: that may be a secret.
func (r Reply) String() string {
	switch r.kind {
	case kindInt:
		return strconv.FormatInt(r.n, 10)
	case kindText:
		return fmt.Sprintf("text of %d bytes", len(r.text))
	case kindArray, kindMap:
		return fmt.Sprintf("%v of %d replies", r.kind, len(r.elems))
	}
	return r.kind.String()
}

// shape is the error of a reply that is not of the wanted kind.
func (r *Reply) shape(want replyKind) error {
	if err := r.Err(); err != nil {
		return err
	}
	return fault.New(fault.ErrCorrupt, fmt.Errorf("the reply is %v, want %v", r.kind, want), "another program or release wrote it, or the server is not a supported one")
}

// replyOf converts what the client library returned on a connection that it handed out. wrote says that
// the command may have changed something.
func replyOf(r rueidis.RedisResult, wrote bool) (Reply, error) {
	msg, err := r.ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		return Reply{}, fault.Foreign(err, wrote)
	}
	return convert(&msg), nil
}

func convert(m *rueidis.RedisMessage) Reply {
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
			r.elems[i] = convert(&elems[i])
		}
		return r
	case m.IsMap():
		all, _ := m.ToMap()
		r := Reply{kind: kindMap, elems: make([]Reply, 0, 2*len(all))}
		for key, value := range all {
			r.elems = append(r.elems, Reply{kind: kindText, text: key}, convert(&value))
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
