package main_test

import (
	"strings"
	"testing"
)

func TestProfilesAreOnlyForThisMachine(t *testing.T) {
	t.Parallel()
	shop := launch(t, nil, "--addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0")
	shop.serving()
	_, profiles, found := strings.Cut(shop.said, "Profiles:")
	if !found {
		t.Fatalf("the output has no address of the profiles:\n%s", shop.said)
	}
	profiles, _, _ = strings.Cut(strings.TrimSpace(profiles), "\n")
	if status, body := (&process{t: t, url: profiles}).get("goroutine?debug=1"); status != 200 ||
		!strings.Contains(body, "goroutine profile:") {
		t.Errorf("the profile of goroutines: status %d %.80s", status, body)
	}
	if status, _ := shop.get("/debug/pprof/"); status != 404 {
		t.Errorf("the address of the shop serves profiles: status %d", status)
	}

	for _, addr := range []string{"0.0.0.0:0", ":6060", "192.0.2.1:6060", "6060"} {
		code, stderr := launch(t, nil, "--addr", "127.0.0.1:0", "--debug-addr", addr).ended()
		if code != 1 || !strings.HasPrefix(stderr, "shop: --debug-addr "+addr+":") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("--debug-addr %s: exit code %d, %q", addr, code, stderr)
		}
	}
}
