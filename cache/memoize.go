package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redstart-go/redstart/internal/argkey"
)

// Memo is a function whose results are cached. Use [Memoize]. Its methods are safe for concurrent
// use.
type Memo[A, V any] struct {
	cache  *Cache[V]
	verb   string // for errors
	prefix string // of its keys
	args   *argkey.Encoder[A]
	fn     func(context.Context, A) (V, error)
	opts   []CallOption
}

// maxMemoName bounds the name of a memo, in bytes.
const maxMemoName = 128

// memoPrefix begins the keys of memos, and no other keys. A plain key can't collide with a memo.
const memoPrefix = "\x00memo:"

func ofMemo(key string) bool {
	return len(key) >= len(memoPrefix) && key[0] == memoPrefix[0] && key[:len(memoPrefix)] == memoPrefix
}

var errMemoKey = errors.New("the key begins with the prefix of memos: use the methods of Memo, or another key")

// Memoize returns fn with its results cached in c. Call runs fn through [Cache.GetOrLoad], with a
// key made of name and the arguments. Several arguments are a struct. The rules of GetOrLoad and
// its loader hold for Call and fn: one fn per arguments in all processes (C2), ErrNotFound
// remembered (C8), [Adjust] inside fn. The options apply to every Call.
//
// The name, of 1 to 128 bytes, separates the memos of one cache. Memos with the same name share
// their results, in this process and in others: choose a new name when the meaning of fn changes.
// Keys of memos begin with "\x00memo:"; the other methods of the cache refuse such keys. Clear,
// InvalidateTags, and DeletePrefix of the empty prefix also end results of memos.
//
// # Which arguments are the same
//
// Arguments are the same if reflect.DeepEqual says so, including unexported fields and the targets
// of pointers. A nil differs from a pointer to zero, from an empty slice and from an empty map.
// Exceptions:
//
//   - NaN is the same as NaN, and -0 differs from +0;
//   - a time.Time is its instant and its zone (the name of the location, and the abbreviation and
//     offset at that instant), because fn may use the day: pass t.UTC() if only the instant
//     matters. The monotonic reading is ignored;
//   - a big.Int is its number, and a netip.Addr its address;
//   - a field named _ is ignored.
//
// No method of the arguments is called, such as MarshalText or Equal. In doubtful cases two
// arguments differ, which costs a load and is never wrong.
//
// The keys of structs hold the shape of the type: kinds and names of fields in their order. A
// release that adds, renames or moves a field does not find the results of another release. Names
// of types and tags of fields are ignored.
//
// A type that contains an interface, a func, a chan, an address (uintptr, unsafe.Pointer), a lock
// (package sync), a time.Location or a big.Float is an error, which names the path to it.
//
// # On the server
//
// An argument that is one bool, one integer or one string of at most 64 bytes is legible in the
// key. Other arguments are stored as their SHA-256. To keep a short secret string out of keys, put
// it in a struct.
func Memoize[A, V any](c *Cache[V], name string, fn func(context.Context, A) (V, error),
	opts ...CallOption) (*Memo[A, V], error) {
	if c == nil {
		return nil, errors.New("cache: Memoize: the cache is nil: use New")
	}
	refuse := func(err error) (*Memo[A, V], error) {
		return nil, c.fail(fmt.Sprintf("memoize %q", name), err)
	}
	switch {
	case name == "":
		return refuse(errors.New("the name is empty: it separates the memos of one cache"))
	case len(name) > maxMemoName:
		return nil, c.fail("memoize", fmt.Errorf("the name has %d bytes: at most %d", len(name), maxMemoName))
	case fn == nil:
		return refuse(errors.New("the function is nil"))
	}
	if _, err := c.settings(opts); err != nil {
		return nil, err
	}
	args, err := argkey.New[A]()
	if err != nil {
		return refuse(err)
	}
	return &Memo[A, V]{
		cache: c, verb: fmt.Sprintf("memo %q", name), prefix: memoPrefix + escapeName(name) + ":",
		args: args, fn: fn, opts: slices.Clone(opts),
	}, nil
}

// escapeName escapes colons, so that the first colon of a key ends the name.
func escapeName(name string) string { return strings.NewReplacer("%", "%25", ":", "%3A").Replace(name) }

// Call returns the cached result for these arguments, or calls fn. See [Cache.GetOrLoad] for round
// trips and errors. The method value m.Call is the cached function.
//
// fn gets args as they are. It may run after Call has returned: to refresh an entry, or because ctx
// ended. Therefore don't change the targets of pointers in args, or elements of its slices and
// maps. If they change before fn begins, fn is not called and the load fails: its result would
// belong to other arguments.
//
// Arguments with more than 100 nested pointers, slices and maps, as in a cycle, are an error.
// Arguments above 16 MiB are redstart.ErrTooLarge. In both cases fn is not called.
func (m *Memo[A, V]) Call(ctx context.Context, args A) (V, error) {
	c := m.cache
	var zero V
	key, err := m.key(args)
	if err != nil {
		return zero, err
	}
	if c.near != nil { // as in GetOrLoad; a hit allocates nothing for the arguments
		now := c.core.Clock().Now()
		if e := c.near.get(key, now); e != nil && now < e.soft {
			if now >= e.early {
				c.nearEarly(ctx, key, m.loader(args), m.opts, e, now)
			}
			if v, ok, err := c.takeNear(key, e); ok {
				return v, err
			}
		}
	}
	set, err := c.settings(m.opts)
	if err != nil {
		return zero, err
	}
	ctx, end := c.observe(ctx, "get or load")
	defer endPanicked(end)
	v, _, err := c.getOrLoad(ctx, key, m.loader(args), set)
	end(spanError(err))
	return v, err
}

// loader calls fn with args, after a check that they have not changed since the key was made.
func (m *Memo[A, V]) loader(args A) Loader[V] {
	return func(ctx context.Context, key string) (V, error) {
		if m.args.References() {
			if now, err := m.key(args); err != nil || now != key {
				var zero V
				return zero, m.cache.fail(m.verb, errChanged)
			}
		}
		return m.fn(ctx, args)
	}
}

var errChanged = errors.New("the target of an argument changed after Call began: pass a copy")

// Delete removes the result for these arguments, as [Cache.Delete] does: calls of fn with them that
// are running in any process can't store their result (C1).
func (m *Memo[A, V]) Delete(ctx context.Context, args A) error {
	key, err := m.key(args)
	if err != nil {
		return err
	}
	return m.cache.invalidateKeys(ctx, "delete", []string{key}, m.cache.remove, true)
}

// key returns the key of args. For simple arguments it allocates only the key.
func (m *Memo[A, V]) key(args A) (string, error) {
	var stack [len(memoPrefix) + maxMemoName + 1 + argkey.MaxKey]byte
	key, err := m.args.Append(append(stack[:0], m.prefix...), &args)
	if err != nil {
		return "", m.cache.fail(m.verb, err)
	}
	return string(key), nil
}
