package cache

import (
	"fmt"
	"reflect"

	"github.com/redstart-go/redstart/codec"
)

// encoded is a value's encoding, from which callers get copies of their own.
type encoded struct {
	payload  string
	known    bool // payload is the encoding
	unusable bool // the value can't be encoded
}

// private returns a value that its caller may modify, made of one that other callers may hold too. It is false if no copy can be made.
func (c *Cache[V]) private(value V, e encoded) (V, bool) {
	switch c.sharing {
	case shareClone:
		if isNil(value) {
			return value, true
		}
		return any(value).(interface{ Clone() V }).Clone(), true
	case shareBytes:
		return c.decoded(value, e)
	}
	return value, true
}

// decoded is value as the codec gives it back.
func (c *Cache[V]) decoded(value V, e encoded) (own V, ok bool) {
	if e.unusable {
		return own, false
	}
	if !e.known {
		data, err := c.append(nil, &value)
		if err != nil {
			return own, false
		}
		e.payload = string(data)
	}
	if err := c.unmarshal(e.payload, &own); err != nil {
		var zero V
		return zero, false
	}
	return own, true
}

// isNil reports a nil pointer, which has nothing to clone.
func isNil[V any](v V) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

// append is the codec's Append. A panic of a method of V is an error (C5).
func (c *Cache[V]) append(dst []byte, value *V) (data []byte, err error) {
	defer contain("encode", &err)
	return c.opt.Codec.Append(dst, value)
}

// unmarshal is the codec's Unmarshal. A panic of a method of V is an error (C5).
func (c *Cache[V]) unmarshal(payload string, value *V) (err error) {
	defer contain("decode", &err)
	return c.opt.Codec.Unmarshal(bytesOf(payload), value)
}

// ownFrom is the size from which a payload may become the value. A smaller one is copied, since the value would keep the header as well.
const ownFrom = 4 << 10

// unmarshalOwn is unmarshal of a payload that is only read from here on, to make further copies: the value is not used together with
// them. So a long string or byte slice of codec.Raw needs no copy.
func (c *Cache[V]) unmarshalOwn(payload string, value *V) error {
	if len(payload) >= ownFrom && c.opt.Codec == codec.Raw {
		switch v := any(value).(type) {
		case *[]byte:
			*v = bytesOf(payload)
			return nil
		case *string:
			*v = payload
			return nil
		}
	}
	return c.unmarshal(payload, value)
}

func contain(verb string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %s: %v", verb, p)
	}
}

// survives reports whether a value can be read again from its encoding. What does not is not stored: to its readers it would be
// a miss each time.
func (c *Cache[V]) survives(payload string) error {
	if c.opt.Codec == codec.Raw { // bytes for bytes
		return nil
	}
	var copy V
	if err := c.unmarshal(payload, &copy); err != nil {
		return fmt.Errorf("the encoded value does not decode into %T: %w: make its MarshalJSON and UnmarshalJSON match, or choose another Codec", copy, err)
	}
	return nil
}

// notStored counts a loaded value that can't be stored, and logs the first.
func (s *store) notStored(err error) {
	s.count.add(cNotStored, 1)
	s.unstorable.Do(func() {
		s.core.Logger().Warn("cache: a loaded value can't be stored; further ones are counted in Stats.NotStored", "cache", s.name, "error", err)
	})
}
