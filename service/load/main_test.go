package main

import (
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// The number of requests ends the measurement, and not the time: with 1 ms, a slow machine makes as
// many requests as a fast one.
func TestTheCachesSaveQueries(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), 4, time.Millisecond, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	row := func(name string) (without, with float64) {
		t.Helper()
		match := regexp.MustCompile(`(?m)^\| ` + name + `[^|]*\| ([\d.]+)[^|]*\| ([\d.]+)`).FindStringSubmatch(out.String())
		if match == nil {
			t.Fatalf("no row %q in\n%s", name, out.String())
		}
		without, _ = strconv.ParseFloat(match[1], 64)
		with, _ = strconv.ParseFloat(match[2], 64)
		return without, with
	}
	if one, other := row("failed requests"); one != 0 || other != 0 {
		t.Errorf("requests failed:\n%s", out.String())
	}
	if one, other := row("requests per second"); one == 0 || other == 0 {
		t.Errorf("no requests:\n%s", out.String())
	}
	if without, with := row("queries that read"); without < 900 || with >= without {
		t.Errorf("per 1,000 requests %v queries without the caches, %v with them", without, with)
	}
}
