package embedded

import (
	"container/heap"
	"math/rand/v2"
)

// entry is a key and its value: a string, a hash, a *set, *zset, *list or *stream.
type entry struct {
	key   string
	value any
	at    int64 // microseconds since 1970 at which it expires; 0 never
	index int   // in the heap of expiries, while at is not 0
	place int   // in the order of SCAN
}

// keyspace is one database. Invariant: an expired key is removed before a command reads it. Only
// commands that return all keys walk over all keys.
type keyspace struct {
	number   int
	keys     map[string]*entry
	expiring expiries
	// order has each key once. The last key replaces a removed one. SCAN goes from the end to the
	// start. A key that moves to a lower place was returned already, or SCAN still reaches it. So
	// SCAN returns each key that stays.
	order []*entry
}

func newKeyspace(number int) *keyspace { return &keyspace{number: number, keys: map[string]*entry{}} }

func (k *keyspace) get(key string) *entry { return k.keys[key] }

// put stores a value and keeps the expiry of the key.
func (k *keyspace) put(key string, value any) *entry {
	e := k.keys[key]
	if e == nil {
		e = &entry{key: key, place: len(k.order)}
		k.keys[key] = e
		k.order = append(k.order, e)
	}
	e.value = value
	return e
}

func (k *keyspace) remove(e *entry) {
	k.expire(e, 0)
	delete(k.keys, e.key)
	last := k.order[len(k.order)-1]
	k.order[e.place], last.place = last, e.place
	k.order[len(k.order)-1] = nil
	k.order = k.order[:len(k.order)-1]
}

// expire sets the time at which a key expires; 0 is never.
func (k *keyspace) expire(e *entry, at int64) {
	switch {
	case e.at == 0 && at == 0:
	case e.at == 0:
		e.at = at
		heap.Push(&k.expiring, e)
	case at == 0:
		heap.Remove(&k.expiring, e.index)
		e.at = 0
	default:
		e.at = at
		heap.Fix(&k.expiring, e.index)
	}
}

// due returns an expired key, or nil.
func (k *keyspace) due(now int64) *entry {
	if len(k.expiring) > 0 && k.expiring[0].at <= now {
		return k.expiring[0]
	}
	return nil
}

// scan returns up to count keys before the cursor, and the next cursor. Cursor 0 is the begin and
// the end.
func (k *keyspace) scan(cursor uint64, count int) (found []*entry, next uint64) {
	at := len(k.order)
	if cursor != 0 {
		at = int(min(cursor, uint64(at)))
	}
	from := max(at-count, 0)
	for i := at - 1; i >= from; i-- {
		found = append(found, k.order[i])
	}
	return found, uint64(from)
}

func (k *keyspace) random() *entry {
	if len(k.order) == 0 {
		return nil
	}
	return k.order[rand.IntN(len(k.order))]
}

// expiries is a heap with the next expiry first.
type expiries []*entry

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].at < h[j].at }
func (h expiries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *expiries) Push(e any) {
	e.(*entry).index = len(*h)
	*h = append(*h, e.(*entry))
}
func (h *expiries) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
}
