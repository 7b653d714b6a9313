package cache

import "reflect"

// private returns a value that its taker may modify, made of one that others may hold too. payload is its
// encoding, if that is at hand.
func (c *Cache[V]) private(value V, payload string) V {
	switch c.sharing {
	case shareClone:
		if isNil(value) {
			return value
		}
		return any(value).(interface{ Clone() V }).Clone()
	case shareBytes:
		if payload == "" {
			data, err := c.opt.Codec.Append(nil, &value)
			if err != nil {
				return value // it can't be stored either: nobody else will get it from us
			}
			payload = string(data)
		}
		var own V
		if c.opt.Codec.Unmarshal(bytesOf(payload), &own) != nil {
			return value
		}
		return own
	}
	return value
}

// isNil tells a nil pointer, which has nothing to clone.
func isNil[V any](v V) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}
