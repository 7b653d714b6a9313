package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/service/internal/shop"
	"github.com/redstart-go/redstart/service/internal/store"
)

// onTwo runs a test everywhere with two instances of one shop, as behind a load balancer.
func onTwo(t *testing.T, test func(t *testing.T, a, b *instance)) {
	t.Parallel()
	everywhere(t, func(t *testing.T, redis redstart.Config, database string) {
		test(t, start(t, redis, database), start(t, redis, database))
	})
}

func userPath(id int64) string            { return fmt.Sprintf("/api/users/%d", id) }
func spendingPath(id int64) string        { return userPath(id) + "/spending" }
func userByEmailPath(email string) string { return "/api/users?email=" + url.QueryEscape(email) }

// soon repeats a request until it shows the change of another instance: the push to the near cache
// takes a moment.
func (in *instance) soon(path, want string) (a answer) {
	in.t.Helper()
	rig.Eventually(in.t, 10*time.Second, path+" has "+want, func() bool {
		a = in.get(path)
		return strings.Contains(a.body, want)
	})
	return a
}

func TestAUserIsLoadedOnceForAllInstances(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		for _, path := range []string{userPath(ada.ID), userByEmailPath("Ada@Example.com "), spendingPath(ada.ID)} {
			first, second, third := a.get(path), a.get(path), b.get(path)
			wantSource(t, first, shop.FromDatabase)
			wantSource(t, second, shop.FromCache)
			wantSource(t, third, shop.FromCache)
			if first.body != second.body || first.body != third.body {
				t.Errorf("%s: %s, %s and %s", path, first.body, second.body, third.body)
			}
			if strings.Contains(first.body, "hash") {
				t.Errorf("%s contains the password hash: %s", path, first.body)
			}
		}
	})
}

func TestUpdateInvalidatesTheUser(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		b.get(userPath(ada.ID))
		answer := a.patch(userPath(ada.ID), `{"name": "Augusta"}`)
		wantStatus(t, answer, http.StatusOK)
		if got := answer.field(t, "name"); got != "Augusta" {
			t.Errorf("PATCH answers with the name %q", got)
		}
		if got := a.get(userPath(ada.ID)).field(t, "name"); got != "Augusta" {
			t.Errorf("after the update the name reads %q where it was made", got)
		}
		b.soon(userPath(ada.ID), `"Augusta"`)
	})
}

func TestUpdateInvalidatesTheUserByEmail(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		b.get(userByEmailPath("ada@example.com"))
		wantStatus(t, a.patch(userPath(ada.ID), `{"name": "Augusta"}`), http.StatusOK)
		b.soon(userByEmailPath("ada@example.com"), `"Augusta"`)
	})
}

func TestUpdateInvalidatesTheOldAddress(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		b.get(userByEmailPath("ada@example.com"))
		wantStatus(t, a.patch(userPath(ada.ID), `{"email": "augusta@example.com"}`), http.StatusOK)
		wantProblem(t, b.soon(userByEmailPath("ada@example.com"), "no such user"), http.StatusNotFound, "no such user")
	})
}

func TestUpdateInvalidatesTheNewAddress(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		wantProblem(t, b.get(userByEmailPath("augusta@example.com")), http.StatusNotFound, "no such user") // a negative entry
		wantStatus(t, a.patch(userPath(ada.ID), `{"email": "augusta@example.com"}`), http.StatusOK)
		wantStatus(t, b.soon(userByEmailPath("augusta@example.com"), `"Ada"`), http.StatusOK)
	})
}

func TestUpdateInvalidatesWhatIsDerived(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		b.get(spendingPath(ada.ID))
		wantStatus(t, a.patch(userPath(ada.ID), `{"name": "Augusta"}`), http.StatusOK)
		if got := b.get(spendingPath(ada.ID)).field(t, "user"); got != "Augusta" {
			t.Errorf("after the update the spending has the name %q", got)
		}
	})
}

func TestDeleteInvalidatesEverythingOfTheUser(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		a.become(ada)
		grace := a.addUser("grace@example.com", "Grace")
		b.become(grace)
		paths := []string{userPath(ada.ID), userByEmailPath("ada@example.com")}
		if _, _, err := b.shop.Spending(t.Context(), ada.ID); err != nil {
			t.Fatal(err)
		}
		for _, path := range append(paths, userPath(grace.ID)) {
			wantStatus(t, b.get(path), http.StatusOK)
		}
		if answer := a.do("DELETE", userPath(ada.ID), ""); answer.status != http.StatusNoContent || answer.body != "" {
			t.Errorf("DELETE answers %d %q, want 204 and no body", answer.status, answer.body)
		}
		for _, path := range paths {
			wantProblem(t, b.soon(path, "no such user"), http.StatusNotFound, "no such user")
		}
		if _, _, err := b.shop.Spending(t.Context(), ada.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the spending of the deleted user: %v", err)
		}
		wantSource(t, b.get(userPath(grace.ID)), shop.FromCache)
		wantProblem(t, a.do("DELETE", userPath(ada.ID), ""), http.StatusUnauthorized, "log in")
	})
}

// A user who is read often is in the near cache of every instance, if Redis pushes invalidations.
// One change removes it from all of them.
func TestUsersAreNear(t *testing.T) {
	onTwo(t, func(t *testing.T, a, b *instance) {
		ada := a.addUser("ada@example.com", "Ada")
		b.cookie = a.become(ada).cookie
		wantOutcome := func(in *instance, outcome string) {
			t.Helper()
			if got := in.get(userPath(ada.ID)).header.Get("X-Cache"); got != outcome {
				t.Errorf("X-Cache %q, want %s", got, outcome)
			}
		}
		if !a.client.Capabilities().Tracking {
			for _, outcome := range []string{"miss", "hit", "hit"} {
				wantOutcome(a, outcome)
			}
			return
		}
		for _, in := range []*instance{a, b} {
			rig.Eventually(t, 10*time.Second, "the user comes near", func() bool {
				return in.get(userPath(ada.ID)).header.Get("X-Cache") == "near"
			})
		}
		reads, _ := b.store.Queries()
		for range 10 {
			wantOutcome(b, "near")
		}
		if now, _ := b.store.Queries(); now != reads {
			t.Errorf("%d statements for what is near", now-reads)
		}
		wantStatus(t, a.patch(userPath(ada.ID), `{"name": "Augusta"}`), http.StatusOK)
		wantOutcome(a, "miss")
		b.soon(userPath(ada.ID), `"Augusta"`)
	})
}
