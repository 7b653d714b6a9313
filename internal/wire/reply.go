package wire

import (
	"fmt"
	"strconv"

	"github.com/redstart-go/redstart/internal/fault"
)

// Reply is the decoded answer of a server to one command. If the reply does not have the requested
// type, its methods return a classified error (package fault). The zero Reply is a nil reply.
type Reply struct {
	kind  replyKind
	n     int64
	text  string
	elems []Reply // elements of a list; of a map: key, value, key, value, …
}

type replyKind uint8

const (
	kindNil replyKind = iota
	kindInt
	kindText
	kindArray
	kindMap
	kindError // an error within a list; an error as the whole reply is returned as an error
)

func (k replyKind) String() string {
	return [...]string{"nil", "an integer", "text", "an array", "a map", "an error"}[k]
}

// IsNil reports whether the reply is nil.
func (r *Reply) IsNil() bool { return r.kind == kindNil }

// IsArray reports whether the reply is a list.
func (r *Reply) IsArray() bool { return r.kind == kindArray }

// Err returns the classified error if the reply is an error within a list, else nil.
func (r *Reply) Err() error {
	if r.kind != kindError {
		return nil
	}
	return fault.Classify(fault.Answer(r.text), false)
}

// ToString returns text. The string refers to no other memory than its own bytes.
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

// ToInt64 returns the value of an integer reply.
func (r *Reply) ToInt64() (int64, error) {
	if r.kind != kindInt {
		return 0, r.shape(kindInt)
	}
	return r.n, nil
}

// AsInt64 returns the value of an integer reply, or of a text reply with a decimal number.
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

// ToTuple returns the elements of a list of n elements.
func (r *Reply) ToTuple(n int) ([]Reply, error) {
	if r.kind != kindArray || len(r.elems) != n {
		return nil, r.shape(kindArray)
	}
	return r.elems, nil
}

// AsStrSlice returns the elements of a list as text. Integers become decimal numbers, and nil
// becomes "".
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

// AsMap returns a map. Scripts, and servers without RESP3, send a map as a list of keys and values.
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

// AsXRange returns the entries in a reply to XRANGE, XREVRANGE or XCLAIM.
func (r *Reply) AsXRange() ([]StreamEntry, error) {
	elems, err := r.ToArray()
	if err != nil {
		return nil, err
	}
	all := make([]StreamEntry, len(elems))
	for i := range elems {
		pair, err := elems[i].ToTuple(2)
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

// ScoredMember is one member of a sorted set.
type ScoredMember struct {
	Member string
	Score  float64
}

// AsZScores returns the members in a reply to ZRANGE … WITHSCORES.
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

// Size returns the approximate number of bytes of the reply.
func (r *Reply) Size() int {
	n := len(r.text)
	for i := range r.elems {
		n += 16 + r.elems[i].Size()
	}
	return n
}

// String describes the reply in an error message. It shows no text, because text may be a secret.
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

// shape returns the error of a reply that does not have the wanted type.
func (r *Reply) shape(want replyKind) error {
	if err := r.Err(); err != nil {
		return err
	}
	return fault.New(fault.ErrCorrupt, fmt.Errorf("the reply is %v, want %v", r.kind, want),
		"another program or release wrote it, or the server is not a supported one")
}
