package cache

import (
	"fmt"
	"reflect"

	"github.com/redstart-go/redstart/codec"
)

// encoded is the encoding of a value, from which callers get their copies.
type encoded struct {
	payload  string
	known    bool // payload is set
	unusable bool // the value can't be encoded
}

// private returns a value that the caller may modify, made from one that other callers may have
// too. It reports false if the value can't be copied.
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

// decoded returns the value as the codec decodes it.
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

// isNil reports whether v is a nil pointer, which has nothing to clone.
func isNil[V any](v V) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

// append encodes a value. A panic of a method of V becomes an error (C5).
func (c *Cache[V]) append(dst []byte, value *V) (data []byte, err error) {
	defer contain("encode", &err)
	return c.opt.Codec.Append(dst, value)
}

// unmarshal decodes a value. A panic of a method of V becomes an error (C5).
func (c *Cache[V]) unmarshal(payload string, value *V) (err error) {
	defer contain("decode", &err)
	return c.opt.Codec.Unmarshal(bytesOf(payload), value)
}

// ownFrom is the size in bytes from which a payload may become the value. A smaller payload is
// copied, because the value would keep the header in memory too.
const ownFrom = 4 << 10

// unmarshalOwn decodes a payload that is only read from then on, to make further copies. The value
// is not used together with them. A long string or byte slice of codec.Raw therefore needs no copy.
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

// survives reports whether a value can be decoded from its encoding. A value that can't is not
// stored: its readers would get a miss each time.
func (c *Cache[V]) survives(payload string) error {
	if c.opt.Codec == codec.Raw { // identity
		return nil
	}
	var decoded V
	if err := c.unmarshal(payload, &decoded); err != nil {
		return fmt.Errorf("the encoded value does not decode into %T: %w: "+
			"make its MarshalJSON and UnmarshalJSON match, or choose another Codec", decoded, err)
	}
	return nil
}

// notStored counts a loaded value that can't be stored. It logs the first one.
func (s *store) notStored(err error) {
	s.count.add(cNotStored, 1)
	s.unstorable.Do(func() {
		s.core.Logger().Warn("cache: a loaded value can't be stored; further ones are counted in Stats.NotStored", "cache", s.name,
			"error", err)
	})
}
