package requestid_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/requestid"
)

func TestAnIDIsKeptIfItIsFitForALog(t *testing.T) {
	t.Parallel()
	made := map[string]bool{}
	for given, keep := range map[string]bool{
		"7f3a-b_c.D":            true,
		strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false,
		"":                      false,
		"a b":                   false,
		`a"level=ERROR`:         false,
		"<script>":              false,
		"ä":                     false,
		"a\tb":                  false,
	} {
		var log bytes.Buffer
		logger := slog.New(requestid.Handler(slog.NewTextHandler(&log, nil))).With("shop", 1)
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		if given != "" {
			r.Header.Set(requestid.Header, given)
		}
		requestid.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			logger.InfoContext(r.Context(), "seen")
		})).ServeHTTP(w, r)

		id := w.Header().Get(requestid.Header)
		if (id == given) != keep || id == "" || made[id] {
			t.Errorf("%q is answered with the id %q", given, id)
		}
		made[id] = true
		if !strings.Contains(log.String(), "msg=seen shop=1 request="+id+"\n") {
			t.Errorf("%q is logged as %s", given, log.String())
		}
	}
}

func TestOutsideARequestNothingIsAdded(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	slog.New(requestid.Handler(slog.NewTextHandler(&log, nil))).InfoContext(t.Context(), "seen")
	if strings.Contains(log.String(), "request") {
		t.Errorf("logged as %s", log.String())
	}
}
