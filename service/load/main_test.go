package main

import (
	"io"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) {
	if part(os.Getenv(partVariable)) {
		return
	}
	rig.Main(m)
}

// rows returns the numbers of a row in each table of an output.
func rows(t *testing.T, out, name string) (without, with []float64) {
	t.Helper()
	matches := regexp.MustCompile(`(?m)^\| `+name+`[^|]*\| ([\d.]+)[^|]*\| ([\d.]+)`).FindAllStringSubmatch(out, -1)
	if len(matches) != 2 {
		t.Fatalf("%d rows %q, want 2, in\n%s", len(matches), name, out)
	}
	for _, match := range matches {
		for i, list := range []*[]float64{&without, &with} {
			n, err := strconv.ParseFloat(match[i+1], 64)
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, n)
		}
	}
	return without, with
}

// The number of requests ends the measurement, and not the time: with 1 ms, a slow machine makes as
// many requests as a fast one.
func TestTheCachesSaveQueries(t *testing.T) {
	var out strings.Builder
	const latency = 3 * time.Millisecond
	if err := run(t.Context(), 4, time.Millisecond, []time.Duration{0, latency}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	without, with := rows(t, out.String(), "failed requests")
	if without[0]+without[1]+with[0]+with[1] != 0 {
		t.Errorf("requests failed:\n%s", out.String())
	}
	without, with = rows(t, out.String(), "queries that read")
	for i := range without {
		if without[i] < 900 || with[i] >= without[i] {
			t.Errorf("per 1,000 requests %v queries without the caches, %v with them", without[i], with[i])
		}
	}
	without, _ = rows(t, out.String(), "latency, median")
	if without[1] < latency.Seconds()*1000 {
		t.Errorf("a read of the slow database takes %v ms", without[1])
	}
	if runtime.GOOS != "linux" {
		return
	}
	for _, name := range []string{"clients", "shop", "PostgreSQL"} {
		without, with = rows(t, out.String(), "processor time per request, "+name)
		if without[0] == 0 || with[0] == 0 {
			t.Errorf("no processor time of %s in\n%s", name, out.String())
		}
	}
	without, with = rows(t, out.String(), "processor time per request, PostgreSQL")
	if with[0] >= without[0] {
		t.Errorf("PostgreSQL works %v µs per request with the caches, %v µs without", with[0], without[0])
	}
}

// A part that fails ends, and its error reaches the measurement.
func TestAPartThatCanNotStartIsAnError(t *testing.T) {
	var ready shopReady
	if _, err := startPart("shop", shopConfig{Database: "mysql:nothing"}, &ready); err == nil {
		t.Error("a shop without a database serves")
	}
	if _, err := startPart("nothing", true, new(bool)); err == nil {
		t.Error("a part that does not exist started")
	}
}
