package web_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestWithoutADemoItsAddressesDoNotExist(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	wantStatus(t, in.get("/demo/live"), http.StatusNotFound)
	page := in.get("/")
	if strings.Contains(page.body, "live.js") || strings.Contains(page.body, "Break Redis") {
		t.Errorf("the page offers a demo:\n%s", page.body)
	}
}
