package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/service/internal/shop"
)

// A request without the cookie of a live session gets nothing. A request with one gets nothing of
// another user.
func TestUsersReachOnlyTheirOwnData(t *testing.T) {
	onDatabases(t, func(t *testing.T, in *instance) {
		ada, eve := in.addUser("ada@example.com", "Ada"), in.addUser("eve@example.com", "Eve")
		stolen := in.become(ada).cookie
		for _, d := range in.deviceList() { // Ada revokes the device whose cookie was stolen
			wantStatus(t, in.do("DELETE", "/api/devices/"+d.ID, ""), http.StatusNoContent)
		}
		loggedOut := in.become(ada).cookie
		wantStatus(t, in.post("/api/logout", ""), http.StatusNoContent)
		hers := in.become(ada).cookie
		device := in.deviceList()[0].ID
		_, order := in.order("Cards")
		name, token, _ := strings.Cut(hers, "=")

		type request struct {
			method, path, body string
			asEve              int // the status for Eve
		}
		requests := []request{
			{"GET", order, "", 404},
			{"POST", order + "/process", "", 404},
			{"DELETE", "/api/devices/" + device, "", 404},
			{"PATCH", userPath(ada.ID), `{"name":"Eve's"}`, 403},
			{"DELETE", userPath(ada.ID), "", 403},
		}
		in.become(eve)
		for _, r := range requests {
			wantProblem(t, in.do(r.method, r.path, r.body, "Content-Type", "application/json"), r.asEve, "")
		}
		if len(in.deviceList()) != 1 || in.get("/api/orders").body != "[]\n" || in.get("/api/notifications").body != "[]\n" {
			t.Error("Eve sees what is Ada's")
		}

		requests = append(requests,
			request{"GET", "/api/me", "", 0},
			request{"GET", "/api/devices", "", 0},
			request{"DELETE", "/api/devices", "", 0},
			request{"GET", "/api/orders", "", 0},
			request{"POST", "/api/orders", `{"item":"x","amount_cents":1}`, 0},
			request{"GET", "/api/notifications", "", 0},
			request{"GET", "/api/notifications/stream", "", 0},
		)
		for what, cookie := range map[string]string{
			"of a revoked device":  stolen,
			"of a logged out one":  loggedOut,
			"truncated":            hers[:len(hers)-1],
			"prolonged":            hers + "A",
			"altered":              name + "=" + string(token[0]^1) + token[1:],
			"a device's id":        name + "=" + device,
			"a user's id":          name + "=" + shop.SessionUser(ada.ID),
			"under another's name": "id=" + token,
			"twice, forged first":  name + "=" + string(token[0]^1) + token[1:] + "; user=" + fmt.Sprint(ada.ID),
		} {
			t.Run(what, func(t *testing.T) {
				in.cookie = cookie
				for _, r := range requests {
					answer := in.do(r.method, r.path, r.body, "Content-Type", "application/json")
					wantProblem(t, answer, http.StatusUnauthorized, "log in")
					if set := answer.header.Values("Set-Cookie"); len(set) > 0 {
						t.Errorf("%s %s sets %q", r.method, r.path, set)
					}
				}
				wantStatus(t, in.post("/api/logout", ""), http.StatusNoContent) // ends no session
			})
		}

		in.cookie = hers
		wantStatus(t, in.get("/api/me"), http.StatusOK)
		if got := in.get(order).field(t, "status"); got != "new" {
			t.Errorf("the order is %q now", got)
		}
		if list := in.deviceList(); len(list) != 1 {
			t.Errorf("devices: %+v", list)
		}
		if now, err := in.store.User(t.Context(), ada.ID); err != nil || now != ada {
			t.Errorf("Ada is %+v, %v; was %+v", now, err, ada)
		}
	})
}
