package inspect_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

// Show answers as Peek does, for each algorithm, and charges nothing. Reset removes all charges.
func TestLimitShowsWhatTheNextRequestGets(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		in, remote := newInspector(t, client), newInspector(t, open(t, e.URL, e.Namespace))
		for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
			rules := []ratelimit.Rule{ratelimit.PerHour(3), {Name: "daily", Limit: 100, Window: 24 * time.Hour}}
			if a == ratelimit.FixedWindow {
				rules[1] = ratelimit.Rule{Name: "daily", Limit: 100, Calendar: ratelimit.Day}
			}
			l, err := ratelimit.New(client, "api "+a.String(), ratelimit.Options{Algorithm: a, Rules: rules})
			must(t, err)
			key := "<b>{x}\x00"
			for n := range 5 {
				if _, err := l.Allow(t.Context(), key); err != nil {
					t.Fatal(err)
				}
				peek, err := l.Peek(t.Context(), key)
				must(t, err)
				shown, err := in.Limits().Show(t.Context(), "api "+a.String(), key)
				must(t, err)
				given, err := remote.Limits().ShowRules(t.Context(), "api "+a.String(), key, a, rules...)
				must(t, err)
				for _, one := range []inspect.Limit{shown, given} {
					checkAnswer(t, one, peek, a, min(n+1, 3))
				}
			}

			if n, err := remote.Limits().Reset(t.Context(), "api "+a.String(), key); n != 1 || err != nil {
				t.Errorf("%v: Reset removed %d: %v", a, n, err)
			}
			if _, err := remote.Limits().Reset(t.Context(), "api "+a.String(), key); !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("%v: the second Reset: %v", a, err)
			}
			shown, err := in.Limits().Show(t.Context(), "api "+a.String(), key)
			if err != nil || !shown.Answers[0].Allowed || len(shown.Counts) > 0 {
				t.Errorf("%v: after Reset: %+v, %v", a, shown, err)
			}
		}
	})
}

func checkAnswer(t *testing.T, shown inspect.Limit, peek ratelimit.Result, a ratelimit.Algorithm, charged int) {
	t.Helper()
	if len(shown.Answers) != 1 || len(shown.Counts) != 1 || shown.Counts[0].Algorithm != a.String() {
		t.Fatalf("%v: %+v", a, shown)
	}
	answer, counts := shown.Answers[0], shown.Counts[0]
	later := time.Duration(answer.RetryAfter) - peek.RetryAfter // Show came after Peek
	if answer.Allowed != peek.Allowed || answer.Rule != peek.Rule || later > 0 || later < -time.Minute {
		t.Errorf("%v after %d: %+v, Peek %+v", a, charged, answer, peek)
	}
	if len(answer.Rules) != 2 || answer.Rules[1].Name != "daily" || answer.Rules[1].Remaining != int64(100-charged) ||
		answer.Rules[1].ResetAfter <= 0 {
		t.Errorf("%v after %d: %+v", a, charged, answer.Rules)
	}
	switch {
	case a == ratelimit.SlidingLog:
		if counts.Entries != int64(charged) {
			t.Errorf("%v after %d: %+v", a, charged, counts)
		}
	case len(counts.Slots) != 2 || counts.Slots[0].ID == counts.Slots[1].ID || counts.Slots[0].Ends <= 0 || counts.Problem != "":
		t.Errorf("%v after %d: %+v", a, charged, counts)
	case a == ratelimit.FixedWindow && counts.Slots[0].Count != int64(charged):
		t.Errorf("%v after %d: %+v", a, charged, counts)
	}
}

// Permits are counted, and ended for all holders.
func TestLimitShowsPermits(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		in := newInspector(t, open(t, e.URL, e.Namespace))
		c, err := ratelimit.NewConcurrency(client, "reports", ratelimit.ConcurrencyOptions{Limit: 3, TTL: time.Minute})
		must(t, err)
		var held []*ratelimit.Permit
		for range 2 {
			p, err := c.Acquire(t.Context(), "user")
			must(t, err)
			held = append(held, p)
		}
		shown, err := in.Limits().Show(t.Context(), "reports", "user")
		must(t, err)
		minute := inspect.Duration(time.Minute)
		if p := shown.Permits; p.Held != 2 || p.First <= 0 || p.First > p.Last || p.Last > minute {
			t.Errorf("%+v", shown)
		}
		must(t, in.Limits().EndPermits(t.Context(), "reports", "user"))
		if err := held[0].Extend(t.Context()); !errors.Is(err, ratelimit.ErrExpired) {
			t.Errorf("Extend of an ended permit: %v", err)
		}
		if err := in.Limits().EndPermits(t.Context(), "reports", "user"); !errors.Is(err, inspect.ErrNotFound) {
			t.Errorf("the second EndPermits: %v", err)
		}
	})
}

// Values of other programs are shown as such.
func TestLimitForeignValues(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		c, in := clientcore.Of(client), newInspector(t, client)
		for key, args := range map[string][]string{
			"limit:l:{text}": {"SET", "<script>"}, "limit:l:{next}": {"SET", "9" + strings.Repeat("x", 18)},
			"limit:l:{list}":        {"RPUSH", "a"},
			"limit:l:{fixed}:fixed": {"SET", "1abcdef" + strings.Repeat("z", 32)}, "limit:l:{log}:log": {"SET", "x"},
			"limit:l:{permits}:permits": {"SET", "x"}, "limit:l:{}x": {"SET", "x"}, "limit:l:plans": {"SET", "x"},
		} {
			_, err := c.Do(t.Context(), core.Write(args[0], e.Namespace+":"+key, args[1]))
			must(t, err)
		}
		for _, key := range []string{"text", "next", "list", "fixed", "log"} {
			shown, err := in.Limits().Show(t.Context(), "l", key)
			must(t, err)
			if len(shown.Counts) != 1 || shown.Counts[0].Problem == "" || len(shown.Counts[0].Slots) > 0 {
				t.Errorf("%s: %+v", key, shown)
			}
		}
		if shown, err := in.Limits().Show(t.Context(), "l", "permits"); err != nil || shown.Permits.Held != 0 {
			t.Errorf("%+v, %v", shown, err)
		}
		if _, err := in.Limits().Show(t.Context(), "l", strings.Repeat("k", 2000)); !errors.Is(err, redstart.ErrTooLarge) {
			t.Errorf("a long key: %v", err)
		}
	})
}

// Limits are shown and reset with the rights of the shipped users.
func TestPlacesLimit(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	onPlaces(t, nil, func(t *testing.T, p place) {
		var want []string
		for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow, ratelimit.FixedWindow} {
			l, err := ratelimit.New(p.service, a.String(), ratelimit.Options{Algorithm: a, Rules: []ratelimit.Rule{ratelimit.PerHour(3)}})
			must(t, err)
			_, err = l.Allow(t.Context(), "k")
			must(t, err)
			shown, err := p.looks.Limits().ShowRules(t.Context(), a.String(), "k", a, ratelimit.PerHour(3))
			must(t, err)
			if got := shown.Answers[0].Rules[0].Remaining; got != 2 {
				t.Errorf("%v: %d remain", a, got)
			}
			if _, err := p.looks.Limits().Reset(t.Context(), a.String(), "k"); !errors.Is(err, inspect.ErrReadOnly) {
				t.Errorf("Reset by a read-only Inspector: %v", err)
			}
			keys := pages(t, 500, func(page inspect.Page) (inspect.List[string], error) {
				return p.looks.Limits().Keys(t.Context(), a.String(), page)
			})
			if !slices.Equal(slices.Compact(keys), []string{"k"}) {
				t.Errorf("%v: keys %q", a, keys)
			}
			want = append(want, a.String())
		}
		listed := map[string]bool{}
		for _, info := range pages(t, 500, func(page inspect.Page) (inspect.List[inspect.LimiterInfo], error) {
			return p.looks.Limits().List(t.Context(), page)
		}) {
			listed[info.Name] = true
		}
		for _, name := range want {
			if !listed[name] {
				t.Errorf("%s is not in %v", name, listed)
			}
			if _, err := p.repairs.Limits().Reset(t.Context(), name, "k"); err != nil {
				t.Error(err)
			}
		}
		if got := fmt.Sprint(len(p.log.records(t))); got != "4" {
			t.Errorf("%s records", got)
		}
	})
}

// ShowPlan answers by the rules of the plan that the service selects, which are stored on the
// server.
func TestLimitShowsStoredPlans(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		in := newInspector(t, open(t, e.URL, e.Namespace))
		base, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(1)}})
		must(t, err)
		plans, err := ratelimit.NewPlans(base, ratelimit.PlansOptions{})
		must(t, err)
		must(t, plans.Set(t.Context(), "pro", ratelimit.PerHour(30), ratelimit.Rule{Name: "daily", Limit: 200, Window: 24 * time.Hour}))
		must(t, plans.Set(t.Context(), "staff", ratelimit.Rule{Limit: ratelimit.Unlimited}))
		for range 3 {
			_, err := plans.For(t.Context(), "user:7", "pro").Allow(t.Context(), "user:7")
			must(t, err)
		}

		shown, err := in.Limits().ShowPlan(t.Context(), "api", "user:7", ratelimit.GCRA, "user:7", "pro", "staff")
		must(t, err)
		if len(shown.Answers) != 1 || shown.Answers[0].Plan != "pro" || len(shown.Answers[0].Rules) != 2 ||
			shown.Answers[0].Rules[0].Remaining != 27 || shown.Answers[0].Rules[1].Remaining != 197 {
			t.Errorf("plan pro: %+v", shown.Answers)
		}
		shown, err = in.Limits().ShowPlan(t.Context(), "api", "user:7", ratelimit.GCRA, "staff")
		if err != nil || !shown.Answers[0].Allowed || shown.Answers[0].Plan != "staff" {
			t.Errorf("plan staff: %+v, %v", shown.Answers, err)
		}
		for _, names := range [][]string{nil, {"user:7"}} {
			_, err := in.Limits().ShowPlan(t.Context(), "api", "user:7", ratelimit.GCRA, names...)
			if !errors.Is(err, inspect.ErrNotFound) {
				t.Errorf("plans %q: %v, want ErrNotFound", names, err)
			}
		}
		for _, names := range [][]string{{""}, {strings.Repeat("n", 2000)}, make([]string, 9)} {
			if _, err := in.Limits().ShowPlan(t.Context(), "api", "k", ratelimit.GCRA, names...); !errors.Is(err, redstart.ErrTooLarge) {
				t.Errorf("%d plans of %d bytes: %v, want ErrTooLarge", len(names), len(names[0]), err)
			}
		}
	})
}
