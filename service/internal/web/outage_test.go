package web_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/shop"
)

func TestShopWithoutItsRedis(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	in := start(t, redstart.Config{URL: server.URL(), CommandTimeout: 500 * time.Millisecond}, newDatabase(t))
	ada := in.addUser("ada@example.com", "Ada")
	in.become(ada)
	wantSource(t, in.get(userPath(ada.ID)), shop.FromDatabase)
	wantSource(t, in.get(userPath(ada.ID)), shop.FromCache)

	server.Stop()
	watch := rig.Watch(t)
	wantStatus(t, in.get(userPath(ada.ID)), http.StatusOK) // possibly from the near cache, no push has invalidated it
	if took := watch.Took(); took > 2*time.Second {
		t.Errorf("a read waited %v for the stopped Redis", took)
	}
	wantStatus(t, in.get("/"), http.StatusOK)
	wantProblem(t, in.get(userByEmailPath("ada@example.com")), http.StatusServiceUnavailable, "Try again")
	wantStatus(t, in.get("/livez"), http.StatusOK)
	wantProblem(t, in.get("/readyz"), http.StatusServiceUnavailable, "does not answer")

	// The user of the request is unknown. Nothing is changed, and the error asks for a retry and
	// not for a login.
	wantProblem(t, in.get("/api/me"), http.StatusServiceUnavailable, "Try again")
	refused := in.patch(userPath(ada.ID), `{"name": "Augusta"}`)
	wantProblem(t, refused, http.StatusServiceUnavailable, "Try again")
	if refused.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}

	if now, err := in.store.User(t.Context(), ada.ID); err != nil || now != ada {
		t.Errorf("the refused change was made: %+v, %v", now, err)
	}

	server.Continue()
	rig.Eventually(t, 10*time.Second, "the shop is ready again", func() bool { return in.get("/readyz").status == http.StatusOK })
	wantStatus(t, in.patch(userPath(ada.ID), `{"name": "Augusta"}`), http.StatusOK)
	wantStatus(t, in.get("/api/me"), http.StatusOK) // the outage logged no user out
	if got := in.get(userPath(ada.ID)).field(t, "name"); got != "Augusta" {
		t.Errorf("after trying again the name reads %q", got)
	}
}

// A load that takes too long is no fault of the shop: the client gets a 503 and tries again.
func TestASlowDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	ada := in.addUser("ada@example.com", "Ada")
	in.store.SetLatency(time.Minute)
	wantProblem(t, in.get("/?user="+strconv.FormatInt(ada.ID, 10)), http.StatusServiceUnavailable, "Try again")
}

func TestNotReadyWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	in := startEmbedded(t)
	wantStatus(t, in.get("/readyz"), http.StatusOK)
	if err := in.store.Close(); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, in.get("/readyz"), http.StatusServiceUnavailable, "does not answer")
	wantStatus(t, in.get("/livez"), http.StatusOK)
	wantProblem(t, in.get("/api/users/1"), http.StatusInternalServerError, "")
}
