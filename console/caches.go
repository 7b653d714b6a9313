package console

import (
	"context"
	"errors"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
)

// cachesView is the content of the page Caches.
type cachesView struct {
	Cache, Key name
	Asked      bool
	Why        section[explanation]
	Values     bool // the reader may see values
	ValueURL   string
	Value      section[cachedValue]
	List       section[cacheList]
	Pager      pager
	Back       string
}

type cacheList struct {
	Rows []cacheRow
	More more
}

type cacheRow struct {
	Name                    name
	Entries, Bytes, Loading int64
	Local                   bool
}

// explanation says what a read of a key would be, and why.
type explanation struct {
	Verdict, Level, Title, Why string
	Facts                      []fact
	Entries                    []entryRow
	Local                      []localRow
}

type entryRow struct {
	Verdict, Level, Reason string
	Codec, Version         name
	Size, Age, Fresh       string
	LoadTime               time.Duration
	Tags                   []tagRow
}

type tagRow struct {
	Name  name
	State string
}

type localRow struct {
	Version, Codec name
	Near           string
	NearLeft       time.Duration
	Pending        bool
	Loading        bool
}

type cachedValue struct {
	Text  string
	Bytes int
}

func (c *Console) cachesPage(ctx context.Context, req request) any {
	cache, key := req.arg("cache"), req.arg("key")
	v := cachesView{
		Cache: nameOf(cache), Key: nameOf(key), Asked: cache != "" && key != "", Back: c.without("/caches", req, "value"),
		Values: c.opt.Mask == MaskNone && req.role >= Operator,
	}
	caches := c.inspector.Caches()
	if v.Asked {
		v.Why = load(ctx, &c.kept, "explain "+cache+" "+key, func(ctx context.Context) (explanation, error) {
			e, err := caches.Explain(ctx, cache, key)
			return explanationOf(&e), err
		})
		if v.Values {
			v.ValueURL = c.with("/caches", req, "value", "show")
		}
		if v.Values && req.arg("value") != "" {
			v.Value = load(ctx, &kept{}, "", func(ctx context.Context) (cachedValue, error) {
				return valueOf(caches.Get(ctx, cache, key))
			})
		}
	}

	cursor := req.arg("cursor")
	v.List = loadAtMost(ctx, &c.kept, "caches "+cursor, scanAge, func(ctx context.Context) (cacheList, error) {
		list, err := caches.List(ctx, inspect.Page{Cursor: cursor})
		rows := cacheList{More: moreOf(list.Next, list.Scanned, list.Complete)}
		for _, i := range list.Items {
			rows.Rows = append(rows.Rows, cacheRow{nameOf(i.Name), i.Entries, i.Bytes, i.Loading, i.Local})
		}
		return rows, err
	})
	v.Pager = c.pager("/caches", req, v.List.Value.More)
	return v
}

func valueOf(v inspect.Value, err error) (cachedValue, error) {
	if errors.Is(err, inspect.ErrNotFound) {
		return cachedValue{}, errors.New("no value is stored")
	}
	if errors.Is(err, redstart.ErrTooLarge) {
		return cachedValue{}, errors.New("the value has more than 1 MiB: read it with redstartctl cache get")
	}
	return cachedValue{printable(string(v.Data), maxData), len(v.Data)}, err
}

func explanationOf(e *inspect.Explanation) explanation {
	x := explanation{Verdict: e.Verdict, Level: levelOf(e.Verdict), Title: titleOf(e.Verdict), Why: reasonOf(e.Reason, e.Detail)}
	x.Facts = append(x.Facts, fact{"TTL left", unlessAbsent(e.Present, span(time.Duration(e.TTLLeft).Truncate(time.Second)))},
		fact{"Stored", unlessAbsent(e.Present, size(e.Bytes))}, fact{"Read by", readerOf(e.Reader)})
	if e.Lease != "" {
		text := e.Lease + ", ends in " + span(time.Duration(e.LeaseLeft))
		if e.LeaseHeld > 0 {
			text += ", held for " + span(time.Duration(e.LeaseHeld))
		}
		x.Facts = append(x.Facts, fact{"Lease", text})
	} else {
		x.Facts = append(x.Facts, fact{"Lease", "none"})
	}
	if e.LastLoad != "" {
		x.Facts = append(x.Facts, fact{"Last load", printable(e.LastLoad, maxShown)})
	}
	for i := range e.Entries {
		x.Entries = append(x.Entries, entryRowOf(&e.Entries[i]))
	}
	for _, l := range e.Local {
		x.Local = append(x.Local, localRow{nameOf(l.Version), nameOf(l.Codec), l.Near, time.Duration(l.NearLeft), l.Pending, l.Loading})
	}
	return x
}

func entryRowOf(e *inspect.CacheEntry) entryRow {
	row := entryRow{
		Verdict: e.Verdict, Level: levelOf(e.Verdict), Reason: reasonOf(e.Reason, e.Detail), Codec: nameOf(e.Codec),
		Version: nameOf(e.Version), Size: size(e.Bytes), LoadTime: time.Duration(e.LoadTime), Age: "unknown", Fresh: "no longer",
	}
	if e.Compressed {
		row.Size += ", compressed from " + size(e.ValueBytes)
	}
	if e.Age > 0 {
		row.Age = span(time.Duration(e.Age).Truncate(time.Second))
	}
	if e.FreshLeft > 0 {
		row.Fresh = "for " + span(time.Duration(e.FreshLeft).Truncate(time.Second))
	}
	for _, t := range e.Tags {
		row.Tags = append(row.Tags, tagRow{nameOf(t.Name), t.State})
	}
	return row
}

// repairKey runs a repair of one key.
func repairKey(do func(c *inspect.Caches, ctx context.Context, cache, key string) error) func(
	context.Context, *inspect.Inspector, form) (int64, error) {
	return func(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
		var cache, key string
		if err := f.names(map[string]*string{"cache": &cache, "key": &key}); err != nil {
			return 0, err
		}
		return one(do(in.Caches(), ctx, cache, key))
	}
}

// invalidateTag reads the tag as it was typed.
func invalidateTag(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	cache, err := f.name("cache")
	if err != nil {
		return 0, err
	}
	if f.plain("tag") == "" {
		return 0, errors.New("the tag is empty: type the tag to invalidate")
	}
	return one(in.Caches().InvalidateTag(ctx, cache, f.plain("tag")))
}

func clearCache(ctx context.Context, in *inspect.Inspector, f form) (int64, error) {
	cache, err := f.name("cache")
	if err != nil {
		return 0, err
	}
	return one(in.Caches().Clear(ctx, cache))
}
