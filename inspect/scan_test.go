package inspect_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
)

// The pages of a list together have each key, on each engine. In a cluster, the cursor continues on
// the next primary.
func TestPagesHaveEachKey(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name == "acl" {
			return // no SCAN: see TestListNamesTheMissingRule
		}
		client := open(t, e.URL, e.Namespace)
		in := newInspector(t, client)
		want := 700
		write(t, clientcore.Of(client), e.Namespace, want)

		seen, pages := map[string]bool{}, 0
		for p := (inspect.Page{Limit: 100}); ; pages++ {
			list, err := in.ScanKeys(t.Context(), e.Namespace+":*", p)
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Items) > p.Limit+inspect.ScanStep {
				t.Errorf("a page has %d items", len(list.Items))
			}
			for _, key := range list.Items {
				seen[key] = true
			}
			if list.Complete != (list.Next == "" && p.Cursor == "") {
				t.Errorf("Complete is %v with cursor %q and next %q", list.Complete, p.Cursor, list.Next)
			}
			if p.Cursor = list.Next; p.Cursor == "" {
				break
			}
		}
		if len(seen) != want {
			t.Errorf("the pages have %d keys, want %d", len(seen), want)
		}
		if pages < 2 {
			t.Errorf("%d pages follow the first: the test needs several", pages)
		}
	})
}

func write(t *testing.T, c *core.Core, namespace string, n int) {
	t.Helper()
	for i := range n {
		if _, err := c.Do(t.Context(), core.Write("SET", fmt.Sprintf("%s:x:{%d}", namespace, i), "1")); err != nil {
			t.Fatal(err)
		}
	}
}

// A call that finds nothing ends after its budget of keys, and the next page continues.
func TestPageEndsWithItsBudgetOfKeys(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s := rig.Standalone(t)
	s.CLI("DEBUG", "POPULATE", fmt.Sprint(2*inspect.MaxScanned), "foreign")
	in := newInspector(t, open(t, s.URL(), "app"))

	total := 0
	for p := (inspect.Page{}); ; {
		list, err := in.ScanKeys(t.Context(), "app:*", p)
		if err != nil {
			t.Fatal(err)
		}
		if list.Scanned >= inspect.MaxScanned+inspect.ScanStep || len(list.Items) > 0 {
			t.Fatalf("one call examined %d keys and found %d", list.Scanned, len(list.Items))
		}
		total += list.Scanned
		if p.Cursor = list.Next; p.Cursor == "" {
			break
		}
	}
	if total < 2*inspect.MaxScanned {
		t.Errorf("examined %d keys of %d", total, 2*inspect.MaxScanned)
	}
}

func TestPageIsChecked(t *testing.T) {
	t.Parallel()
	in := newInspector(t, open(t, rig.Embedded(t).URL(), "app"))
	for _, cursor := range []string{"x", "eA", "!", string(make([]byte, 10_000)), "a2V5cwBub2RlAC0x"} {
		if _, err := in.ScanKeys(t.Context(), "app:*", inspect.Page{Cursor: cursor}); !errors.Is(err, inspect.ErrBadCursor) {
			t.Errorf("cursor %.20q: %v", cursor, err)
		}
	}
	for _, limit := range []int{-1, 501} {
		if _, err := in.ScanKeys(t.Context(), "app:*", inspect.Page{Limit: limit}); err == nil {
			t.Errorf("limit %d is accepted", limit)
		}
	}
}

// Names that no object of a pattern can have are in keys of other programs. A list does not return
// them, so that a few such keys do not fill the memory of the caller.
func TestListsLeaveOutForeignNames(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		if e.Name == "acl" {
			return // no SCAN
		}
		client := open(t, e.URL, e.Namespace)
		c, in := clientcore.Of(client), newInspector(t, client)
		long := strings.Repeat("n", 1<<20)
		for _, name := range []string{long, "short"} {
			for pattern, tag := range map[string]string{"cache": "k", "limit": "k", "session": "k", "events": "bus"} {
				_, err := c.Do(t.Context(), core.Write("SET", e.Namespace+":"+pattern+":"+name+":{"+tag+"}", "x"))
				must(t, err)
			}
		}
		lists := map[string][]string{
			"caches":   listed(t, in.Caches().List, func(c inspect.CacheInfo) string { return c.Name }),
			"limiters": listed(t, in.Limits().List, func(l inspect.LimiterInfo) string { return l.Name }),
			"managers": listed(t, in.Sessions().Managers, func(m inspect.ManagerInfo) string { return m.Name }),
			"buses":    listed(t, in.Events().Buses, func(b inspect.BusInfo) string { return b.Name }),
		}
		for what, names := range lists {
			if !slices.Equal(names, []string{"short"}) {
				t.Errorf("%s: %.40q", what, names)
			}
		}
	})
}

// listed returns the names in all pages of a list.
func listed[T any](t *testing.T, list func(context.Context, inspect.Page) (inspect.List[T], error),
	nameOf func(T) string) (names []string) {
	t.Helper()
	for _, one := range pages(t, 500, func(p inspect.Page) (inspect.List[T], error) { return list(t.Context(), p) }) {
		names = append(names, nameOf(one))
	}
	return names
}

// A cursor with an offset beyond each list is refused, and never overflows.
func TestCursorsWithLargeOffsetsAreRefused(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	must(t, orders.Publish(t.Context(), newBus(t, client, "orders"), "x", order{}))
	in := newInspector(t, client)
	for _, offset := range []int{math.MaxInt, math.MaxInt - 10, 1 << 31, -1} {
		page := func(kind string) inspect.Page {
			return inspect.Page{Cursor: base64.RawURLEncoding.EncodeToString(fmt.Append(nil, kind, "\x00", offset))}
		}
		_, err1 := in.Events().Partitions(t.Context(), "orders", "mail", page("partitions"))
		_, err2 := in.Events().Waiting(t.Context(), "orders", "mail", "x", false, page("waiting events"))
		_, err3 := in.Sessions().OfUser(t.Context(), "web", "ada", page("sessions"))
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, inspect.ErrBadCursor) {
				t.Errorf("offset %d: %v", offset, err)
			}
		}
	}
}
