package cache

import (
	"context"
	"errors"
	"strings"
	"unsafe"

	"github.com/redis/rueidis"
)

// state says what was found under a key.
type state uint8

const (
	missing  state = iota // nothing
	rejected              // something that is of no use to us: its head tells which
	negative              // the source has no such value
	fresh
)

// found is an entry as it was read.
type found[V any] struct {
	state state
	head  string
	value V
}

// read asks the server for a key.
func (c *Cache[V]) read(ctx context.Context, key string) (found[V], error) {
	msg, err := c.core.Do(ctx, c.core.B().Get().Key(c.valueKey(key)).Build())
	if err != nil {
		if wrongType(err) {
			c.count.add(cUnreadable, 1)
			return found[V]{state: rejected}, nil
		}
		return found[V]{}, err
	}
	return c.interpret(msg)
}

func (c *Cache[V]) interpret(msg rueidis.RedisMessage) (found[V], error) {
	if msg.IsNil() {
		return found[V]{}, nil
	}
	data, err := msg.ToString()
	if err != nil {
		return found[V]{}, err
	}
	return c.decode(data), nil
}

// decode makes sense of an entry. What it can't read is a miss that is counted, and will be
// overwritten (C5).
func (c *Cache[V]) decode(data string) found[V] {
	e := found[V]{state: rejected, head: head(data)}
	var h header
	payload, err := h.open(data)
	switch {
	case err != nil, h.codec != c.opt.Codec.ID(), h.schema != c.schema:
		c.count.add(cUnreadable, 1)
	case h.flags&flagNegative != 0:
		e.state = negative
	case len(payload) > c.opt.MaxValueBytes:
		c.count.add(cUnreadable, 1)
	case c.opt.Codec.Unmarshal(bytesOf(payload), &e.value) != nil:
		c.count.add(cUnreadable, 1)
		clear := *new(V)
		e.value = clear
	default:
		e.state = fresh
	}
	return e
}

// bytesOf is s as the codec takes it: it neither keeps nor changes it.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// wrongType reports that another kind of key has our name (C5).
func wrongType(err error) bool {
	reply, ok := errors.AsType[*rueidis.RedisError](err)
	return ok && strings.HasPrefix(reply.Error(), "WRONGTYPE")
}
