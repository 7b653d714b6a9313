package inspect

import (
	"context"
	"errors"
	"sort"

	"github.com/redstart-go/redstart/internal/cacheview"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/keys"
)

// Caches shows and repairs caches. Use [Inspector.Caches].
type Caches struct {
	in   *Inspector
	view cacheview.Functions
}

// Caches returns the caches of the namespace.
func (in *Inspector) Caches() *Caches { return &Caches{in, cacheview.Of()} }

// CacheInfo is a cache, as far as one page has seen it.
type CacheInfo struct {
	Name string `json:"name"`
	// Entries is the number of stored values. It is exact if the list is Complete. Otherwise it is
	// the part that the page has seen, scaled to all keys of the servers. Bytes is their stored
	// size, without the overhead of the server: the mean of at most 20 values, multiplied.
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
	// Sampled is how many values the page has seen.
	Sampled int64 `json:"sampled"`
	// Loading is how many of the sampled values have a lease: a load runs, or a hold-down lasts.
	Loading int64 `json:"loading"`
	// Local reports whether this process has the cache open.
	Local bool `json:"local"`
}

// The values whose size one page asks for: of each cache, and of all caches together.
const (
	bytesSample    = 20
	bytesSampleAll = 1000
)

// sample is what a page has seen of one cache.
type sample struct {
	info   CacheInfo
	values []string
}

// List returns the caches that have entries, by name. A page is a sample of the keys, so a cache
// may occur in several pages. It takes one round trip per 1,000 keys and two for the sizes.
func (c *Caches) List(ctx context.Context, p Page) (List[CacheInfo], error) {
	list, err := c.list(ctx, p)
	if err != nil {
		return List[CacheInfo]{Items: []CacheInfo{}}, failure("list caches", "", err)
	}
	return list, nil
}

func (c *Caches) list(ctx context.Context, p Page) (List[CacheInfo], error) {
	base, err := c.in.core.Keys("cache", "")
	if err != nil {
		return List[CacheInfo]{}, err
	}
	samples := map[string]*sample{}
	found, err := scan(ctx, c.in, "caches", base.Prefix()+"*", p, func(_ context.Context, found []string) ([]string, error) {
		return c.add(samples, base, found), nil
	})
	if err != nil {
		return List[CacheInfo]{}, err
	}

	scale := 1.0
	if !found.Complete {
		total, known, err := c.in.core.KeyCount(ctx)
		if err != nil {
			return List[CacheInfo]{}, err
		}
		if known {
			scale = max(1, float64(total)/float64(max(found.Scanned, 1)))
		}
	}
	if err := c.measure(ctx, samples); err != nil {
		return List[CacheInfo]{}, err
	}
	list := mapList(found, func(name string) CacheInfo {
		info := samples[name].info
		info.Entries, info.Bytes = int64(float64(info.Entries)*scale), int64(float64(info.Bytes)*scale)
		return info
	})
	sort.Slice(list.Items, func(i, j int) bool { return list.Items[i].Name < list.Items[j].Name })
	return list, nil
}

// add counts the keys of one step. It returns the caches that the page has not seen before.
func (c *Caches) add(samples map[string]*sample, base keys.Space, found []string) (fresh []string) {
	for _, key := range found {
		name, ok := base.NameOf(key)
		if !ok || name == "" || len(name) > maxName {
			continue
		}
		s := samples[name]
		if s == nil {
			s = &sample{info: CacheInfo{Name: name, Local: len(c.view.Locals(c.in.core, name, "")) > 0}}
			samples[name] = s
			fresh = append(fresh, name)
		}
		space, err := c.in.core.Keys("cache", name)
		if err != nil {
			continue // the name is longer than a cache can have
		}
		_, suffix, sibling, ok := space.Split(key)
		switch {
		case !ok:
		case c.view.IsEntry(suffix, sibling):
			s.info.Entries++
			s.info.Sampled++
			if len(s.values) < bytesSample {
				s.values = append(s.values, key)
			}
		case suffix == "lease":
			s.info.Loading++
		}
	}
	return fresh
}

// measure asks for the size of some values of each cache: one round trip.
func (c *Caches) measure(ctx context.Context, samples map[string]*sample) error {
	var cmds []core.Command
	var of []*sample
	for _, s := range samples {
		for _, key := range s.values {
			if len(cmds) == bytesSampleAll {
				break
			}
			cmds, of = append(cmds, core.Read("STRLEN", key)), append(of, s)
		}
	}
	sum, counted := map[*sample]int64{}, map[*sample]int64{}
	for i, r := range c.in.core.DoMulti(ctx, cmds...) {
		msg, err := r.Get()
		if errors.Is(err, fault.ErrCorrupt) {
			continue // of another type
		}
		if err != nil {
			return err
		}
		if n, err := msg.AsInt64(); err == nil && n > 0 { // 0: the value has ended
			sum[of[i]] += n
			counted[of[i]]++
		}
	}
	for s, n := range counted {
		s.info.Bytes = sum[s] * s.info.Entries / n
	}
	return nil
}

// checkName refuses names that no cache has.
func checkName(what, name string) error {
	if name == "" {
		return errors.New("the name of the " + what + " is empty")
	}
	return nil
}
