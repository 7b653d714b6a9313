package observe_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/observe"
)

func TestHistogramsDescribeEachQuantity(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for i, h := range observe.Histograms() {
		if h.Quantity != observe.Quantity(i) {
			t.Errorf("index %d has the quantity %v", i, h.Quantity)
		}
		if !strings.HasPrefix(h.Name, "redstart.") || names[h.Name] || h.Unit != "s" || !strings.HasSuffix(h.Help, ".") {
			t.Errorf("%v: %+v", h.Quantity, h)
		}
		names[h.Name] = true
		if len(h.Bounds) == 0 || h.Bounds[0] <= 0 || !slices.IsSorted(h.Bounds) {
			t.Errorf("%v: the bounds are %v", h.Quantity, h.Bounds)
		}
		if len(slices.Compact(slices.Clone(h.Bounds))) != len(h.Bounds) {
			t.Errorf("%v: a bound occurs twice: %v", h.Quantity, h.Bounds)
		}
	}
	if last := observe.Quantity(len(names)); !strings.HasPrefix(last.String(), "Quantity(") {
		t.Errorf("%v has no histogram", last)
	}
}

func TestHistogramsReturnsACopy(t *testing.T) {
	t.Parallel()
	observe.Histograms()[observe.Wait].Bounds[0] = 7
	if got := observe.Histograms()[observe.Wait].Bounds[0]; got == 7 {
		t.Error("a caller changed the bounds of all callers")
	}
}

// meter is a recorder that logs what it receives.
type meter struct{ recorder }

func (m meter) Record(_ context.Context, op observe.Operation, q observe.Quantity, d time.Duration) {
	*m.log = append(*m.log, fmt.Sprintf("%s %s %v %v", m.name, op, q, d))
}

func TestMultiRecordsWithEachRecorder(t *testing.T) {
	t.Parallel()
	var log []string
	one := observe.Multi(recorder{"a", &log}, meter{recorder{"b", &log}}, silent{}, meter{recorder{"c", &log}})
	r, ok := one.(observe.Recorder)
	if !ok {
		t.Fatal("several observers with two recorders are no Recorder")
	}
	r.Record(t.Context(), observe.Operation{Pattern: "lock", Verb: "acquire"}, observe.Wait, time.Second)
	if want := []string{"b lock.acquire wait 1s", "c lock.acquire wait 1s"}; !slices.Equal(log, want) {
		t.Errorf("got %q, want %q", log, want)
	}
	_, end := one.Start(t.Context(), observe.Operation{})
	end(nil)
	if len(log) != 2+6 {
		t.Errorf("the observers of a Recorder are not all called: %q", log)
	}
	if _, ok := observe.Multi(recorder{"a", &log}, silent{}).(observe.Recorder); ok {
		t.Error("observers without a recorder are a Recorder")
	}
}
