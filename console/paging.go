package console

import (
	"maps"
	"net/url"
)

// more says how far a list of package inspect goes.
type more struct {
	Next     string
	Scanned  int
	Complete bool
}

func moreOf(next string, scanned int, complete bool) more { return more{next, scanned, complete} }

// pager has the links below a list.
type pager struct {
	more
	First, Following string // URLs; "" for none
}

// pager returns the links of a page whose list continues at the argument cursor.
func (c *Console) pager(path string, req request, m more) pager {
	return c.pagerOf(path, "cursor", req, m)
}

// pagerOf is pager with the name of the argument.
func (c *Console) pagerOf(path, arg string, req request, m more) pager {
	p := pager{more: m}
	query := url.Values{}
	maps.Copy(query, req.query)
	query.Del(arg)
	if req.query.Get(arg) != "" {
		p.First = c.url(path, query)
	}
	if m.Next != "" && len(m.Next) <= maxCursor {
		query.Set(arg, m.Next)
		p.Following = c.url(path, query)
	}
	return p
}

// maxCursor bounds a cursor of package inspect in a URL, in bytes.
const maxCursor = 4096

// self returns the URL of a page with its arguments.
func (c *Console) self(path string, req request) string { return c.url(path, req.query) }

// with returns the URL of a page with one more argument.
func (c *Console) with(path string, req request, arg, value string) string {
	query := url.Values{}
	maps.Copy(query, req.query)
	query.Set(arg, value)
	return c.url(path, query)
}

// without returns the URL of a page without one of its arguments.
func (c *Console) without(path string, req request, arg string) string {
	query := url.Values{}
	maps.Copy(query, req.query)
	query.Del(arg)
	return c.url(path, query)
}

func (c *Console) url(path string, query url.Values) string {
	target := url.URL{Path: c.opt.Prefix + path, RawQuery: query.Encode()}
	return target.String()
}
