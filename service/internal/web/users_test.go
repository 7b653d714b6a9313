package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/shop"
)

// onTwo runs a test on every engine with two instances of one shop, as behind a load balancer.
func onTwo(t *testing.T, test func(t *testing.T, a, b *instance)) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		database := newDatabase(t)
		test(t, start(t, on(e.URL, e.Namespace), database), start(t, on(e.URL, e.Namespace), database))
	})
}

func userPath(id int64) string            { return fmt.Sprintf("/api/users/%d", id) }
func spendingPath(id int64) string        { return userPath(id) + "/spending" }
func userByEmailPath(email string) string { return "/api/users?email=" + url.QueryEscape(email) }

func TestAUserIsLoadedOnceForAllInstances(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		for _, path := range []string{userPath(ada.ID), userByEmailPath("Ada@Example.com "), spendingPath(ada.ID)} {
			first, second, third := a.get(path), a.get(path), b.get(path)
			wantSource(t, first, shop.FromDatabase)
			wantSource(t, second, shop.FromCache)
			wantSource(t, third, shop.FromCache)
			if first.body != second.body || first.body != third.body {
				t.Errorf("%s: %s, %s and %s", path, first.body, second.body, third.body)
			}
			if strings.Contains(first.body, "hash") {
				t.Errorf("%s tells the password hash: %s", path, first.body)
			}
		}
	})
}

func TestUpdateInvalidatesTheUser(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		b.get(userPath(ada.ID))
		answer := a.patch(userPath(ada.ID), `{"name": "Augusta"}`)
		wantStatus(t, answer, http.StatusOK)
		if got := answer.field(t, "name"); got != "Augusta" {
			t.Errorf("PATCH answers with the name %q", got)
		}
		for _, in := range []*instance{a, b} {
			if got := in.get(userPath(ada.ID)).field(t, "name"); got != "Augusta" {
				t.Errorf("after the update the name reads %q", got)
			}
		}
	})
}

func TestUpdateInvalidatesTheUserByEmail(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		b.get(userByEmailPath("ada@example.com"))
		wantStatus(t, a.patch(userPath(ada.ID), `{"name": "Augusta"}`), http.StatusOK)
		if got := b.get(userByEmailPath("ada@example.com")).field(t, "name"); got != "Augusta" {
			t.Errorf("after the update the name reads %q", got)
		}
	})
}

func TestUpdateInvalidatesTheOldAddress(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		b.get(userByEmailPath("ada@example.com"))
		wantStatus(t, a.patch(userPath(ada.ID), `{"email": "augusta@example.com"}`), http.StatusOK)
		wantProblem(t, b.get(userByEmailPath("ada@example.com")), http.StatusNotFound, "no such user")
	})
}

func TestUpdateInvalidatesTheNewAddress(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		wantProblem(t, b.get(userByEmailPath("augusta@example.com")), http.StatusNotFound, "no such user") // remembered
		wantStatus(t, a.patch(userPath(ada.ID), `{"email": "augusta@example.com"}`), http.StatusOK)
		wantStatus(t, b.get(userByEmailPath("augusta@example.com")), http.StatusOK)
	})
}

func TestUpdateInvalidatesWhatIsDerived(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		b.get(spendingPath(ada.ID))
		wantStatus(t, a.patch(userPath(ada.ID), `{"name": "Augusta"}`), http.StatusOK)
		if got := b.get(spendingPath(ada.ID)).field(t, "user"); got != "Augusta" {
			t.Errorf("after the update the spending is that of %q", got)
		}
	})
}

func TestDeleteInvalidatesEverythingOfTheUser(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		grace := a.addUser("grace@example.com", "Grace")
		paths := []string{userPath(ada.ID), userByEmailPath("ada@example.com"), spendingPath(ada.ID)}
		for _, path := range append(paths, userPath(grace.ID)) {
			wantStatus(t, b.get(path), http.StatusOK)
		}
		if answer := a.do("DELETE", userPath(ada.ID), ""); answer.status != http.StatusNoContent || answer.body != "" {
			t.Errorf("DELETE answers %d %q, want 204 and no body", answer.status, answer.body)
		}
		for _, path := range paths {
			wantProblem(t, b.get(path), http.StatusNotFound, "no such user")
		}
		wantSource(t, b.get(userPath(grace.ID)), shop.FromCache)
		wantProblem(t, a.do("DELETE", userPath(ada.ID), ""), http.StatusUnauthorized, "log in")
	})
}
