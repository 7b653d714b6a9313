package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redstart-go/redstart/internal/argkey"
)

// Memo is a function whose results are remembered. Use Memoize. Its methods are safe for concurrent use.
type Memo[A, V any] struct {
	cache  *Cache[V]
	verb   string // for errors
	prefix string // of its keys
	args   *argkey.Encoder[A]
	fn     func(context.Context, A) (V, error)
	opts   []CallOption
}

// maxMemoName bounds a memo's name, as those of caches are.
const maxMemoName = 128

// memoPrefix begins the keys of memos and no others: what strangers choose for a plain key never meets a result.
const memoPrefix = "\x00memo:"

func ofMemo(key string) bool {
	return len(key) >= len(memoPrefix) && key[0] == memoPrefix[0] && key[:len(memoPrefix)] == memoPrefix
}

var errMemoKey = errors.New("the key begins as those of memos do, which are theirs alone: use Memo's methods, or another key")

// Memoize returns fn with its results remembered in c: Call is fn, through GetOrLoad, with a key made of name and
// of the arguments. Several arguments are a struct. What holds for GetOrLoad and its loader holds for Call and
// fn: one fn per arguments in all processes (C2), ErrNotFound remembered (C8), Adjust inside fn. The options are
// those of every Call.
//
// The name, of 1 to 128 bytes, tells memos of one cache apart. Memos of one name share their results, in
// this process and in others: give it a new name when fn changes its meaning. Keys of memos begin with
// "\x00memo:"; the cache's own methods refuse such keys, so the two never meet. Clear, InvalidateTags, and
// DeletePrefix of the empty prefix, are about memos too.
//
// # Which arguments are the same
//
// Those that reflect.DeepEqual takes for equal, with unexported fields, and with pointers followed; nil differs
// from a pointer to zero, from an empty slice and from an empty map. Except:
//
//   - NaN is the same as NaN, and -0 differs from +0;
//   - a time.Time is its instant and its zone (the location's name, and the abbreviation and offset that hold
//     there then), because fn may ask for the day: pass t.UTC() if only the instant matters, and not local times
//     if processes differ in time.Local. A monotonic reading doesn't count;
//   - a big.Int is its number, and a netip.Addr its address;
//   - a field named _ doesn't count.
//
// No method of the arguments is called: neither MarshalText nor Equal. When in doubt two arguments differ, which
// costs a load and is never wrong.
//
// Keys of structs and the like hold the type's shape, kinds and names of fields in their order: a release that adds,
// renames or moves a field finds nothing that another one stored. Names of types, and tags, don't count.
//
// A type with an interface, a func, a chan, an address (uintptr, unsafe.Pointer), a lock (package sync), a time.Location or a
// big.Float somewhere inside is an error that names the path to it.
//
// # On the server
//
// Arguments that are one bool, one integer or one string of at most 64 bytes are legible in the key; all
// others are their SHA-256. To keep a short secret string out of keys, put it in a struct.
func Memoize[A, V any](c *Cache[V], name string, fn func(context.Context, A) (V, error), opts ...CallOption) (*Memo[A, V], error) {
	if c == nil {
		return nil, errors.New("cache: Memoize: the cache is nil: use New")
	}
	refuse := func(err error) (*Memo[A, V], error) {
		return nil, c.fail(fmt.Sprintf("memoize %q", name), err)
	}
	switch {
	case name == "":
		return refuse(errors.New("the name is empty: it tells memos of one cache apart"))
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

// escapeName makes the colon behind the name the first one.
func escapeName(name string) string { return strings.NewReplacer("%", "%25", ":", "%3A").Replace(name) }

// Call returns what fn returned for these arguments, or calls it; see GetOrLoad for round trips and errors. m.Call
// is the decorated function.
//
// fn gets args as they are, and may run when Call has returned: to refresh a value that is about to
// end, or because ctx ended. So don't change what args point to, nor elements of its slices and maps. If that
// was done before fn began, its result would be stored as that of other arguments: fn is not called then, and it is an
// error.
//
// Arguments with more than 100 pointers, slices and maps inside each other, as in a cycle, are an error; those with more
// than 16 MiB are redstart.ErrTooLarge. Neither calls fn.
func (m *Memo[A, V]) Call(ctx context.Context, args A) (V, error) {
	c := m.cache
	var zero V
	key, err := m.key(args)
	if err != nil {
		return zero, err
	}
	if c.near != nil { // as in GetOrLoad, but nothing that holds the arguments is made for a hit
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

// loader calls fn with args, after a look whether they are still what the key was made of.
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

var errChanged = errors.New("what the arguments point to was changed after Call began: pass a copy")

// Delete forgets the result for these arguments, as Cache.Delete does: calls of fn with them that are under
// way, anywhere, can't store what they return (C1).
func (m *Memo[A, V]) Delete(ctx context.Context, args A) error {
	key, err := m.key(args)
	if err != nil {
		return err
	}
	return m.cache.invalidateKeys(ctx, "delete", []string{key}, m.cache.remove, true)
}

// key allocates the key and, for simple arguments, nothing else.
func (m *Memo[A, V]) key(args A) (string, error) {
	var stack [len(memoPrefix) + maxMemoName + 1 + argkey.MaxKey]byte
	key, err := m.args.Append(append(stack[:0], m.prefix...), &args)
	if err != nil {
		return "", m.cache.fail(m.verb, err)
	}
	return string(key), nil
}
