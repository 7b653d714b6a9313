package inspect_test

import (
	"errors"
	"fmt"
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
