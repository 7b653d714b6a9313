package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/requestid"
)

func TestARequestsIdIsInItsAnswerItsProblemAndTheLog(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	wantStatus(t, in.get("/livez"), http.StatusOK)
	if err := in.store.Close(); err != nil {
		t.Fatal(err)
	}
	given := in.do("GET", "/api/users/1", "", requestid.Header, "from-the-proxy")
	made := in.get("/api/users/2")
	for id, a := range map[string]answer{"from-the-proxy": given, made.header.Get(requestid.Header): made} {
		wantProblem(t, a, http.StatusInternalServerError, "")
		if id == "" || a.header.Get(requestid.Header) != id || a.field(t, "request_id") != id {
			t.Errorf("the request %q is answered with %q: %s", id, a.header.Get(requestid.Header), a.body)
		}
		if !strings.Contains(in.log.String(), "request="+id+"\n") {
			t.Errorf("the log lacks the request %s:\n%s", id, in.log)
		}
	}
	// An id that is not fit for a log is replaced.
	unfit := in.do("GET", "/livez", "", requestid.Header, "x level=ERROR")
	if id := unfit.header.Get(requestid.Header); id == "" || strings.Contains(id, " ") {
		t.Errorf("an unfit id is answered as %q", id)
	}
}
