package ratelimit_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same time zones on every machine

	"github.com/redstart-go/redstart/internal/clientcore"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/ratelimit"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

var periods = []ratelimit.Calendar{ratelimit.Hour, ratelimit.Day, ratelimit.Week, ratelimit.Month}

// begins reports whether a period starts at t, a full minute, by what the local clock shows at t
// and has shown before.
func begins(c ratelimit.Calendar, t time.Time, shown *string) bool {
	if c == ratelimit.Hour {
		return t.Minute() == 0 && t.Second() == 0
	}
	day := t
	switch c {
	case ratelimit.Week:
		day = time.Date(t.Year(), t.Month(), t.Day()-(int(t.Weekday())+6)%7, 0, 0, 0, 0, time.UTC)
	case ratelimit.Month:
		day = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	}
	name := day.Format(time.DateOnly)
	if name <= *shown { // a date that the clock showed before does not start again
		return false
	}
	first := *shown == ""
	*shown = name
	return !first
}

// Windows start by the local clock, minute by minute, also where the clock skips midnight, shows it
// twice, skips a day, or changes by half an hour.
func TestCalendarWindowsBeginByTheLocalClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		zone string
		from time.Time
		days int
	}{
		{"UTC", time.Date(2024, 2, 26, 0, 0, 0, 0, time.UTC), 6},
		{"Europe/Berlin", time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC), 4},
		{"Europe/Berlin", time.Date(2026, 10, 23, 0, 0, 0, 0, time.UTC), 4},
		{"America/Sao_Paulo", time.Date(2017, 10, 13, 0, 0, 0, 0, time.UTC), 4}, // 00:00 -> 01:00
		{"America/St_Johns", time.Date(2005, 10, 28, 0, 0, 0, 0, time.UTC), 5},  // 00:01 -> 23:01
		{"Australia/Lord_Howe", time.Date(2026, 4, 3, 0, 0, 0, 0, time.UTC), 4}, // by half an hour
		{"Australia/Lord_Howe", time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC), 4},
		{"Pacific/Apia", time.Date(2011, 12, 27, 0, 0, 0, 0, time.UTC), 7}, // no December 30
		{"Asia/Kathmandu", time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC), 4},
		{"Antarctica/Troll", time.Date(2026, 3, 27, 0, 0, 0, 0, time.UTC), 4}, // by two hours
	} {
		loc := zone(t, c.zone)
		for _, period := range periods {
			var shown string
			begin := c.from.AddDate(0, 0, -70).In(loc)
			for at := begin; at.Before(c.from); at = at.Add(time.Minute) {
				begins(period, at, &shown)
			}
			last, found := time.Time{}, 0
			for m := range c.days * 24 * 60 {
				at := c.from.Add(time.Duration(m) * time.Minute).In(loc)
				if begins(period, at, &shown) {
					if last = at; found > 0 || m > 0 {
						found++
					}
				}
				if last.IsZero() || m%7 != 0 && !last.Equal(at) {
					continue
				}
				got := ratelimit.CalendarAround(period, at)
				if !got[1].Equal(last) || !got[0].Before(got[1]) || !got[2].After(at) ||
					!got[3].After(got[2]) || !got[4].After(got[3]) {
					t.Fatalf("%v of %s at %v: %v, the window began at %v", period, c.zone, at, got, last)
				}
			}
			if found == 0 && period < ratelimit.Week {
				t.Errorf("%v of %s from %v: no window began", period, c.zone, c.from)
			}
		}
	}
}

// A day on which the clocks change has 23 or 25 hours, and its tokens come back at midnight.
// RetryAfter and the reset are exact to the microsecond, on each engine.
func TestCalendarDaysOfBerlin(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		for date, hours := range map[string]int{"2026-03-28": 24, "2026-03-29": 23, "2026-10-25": 25, "2026-10-26": 24} {
			begin, err := time.ParseInLocation(time.DateOnly, date, berlin)
			if err != nil {
				t.Fatal(err)
			}
			v := ratelimit.NewVirtualTime(ratelimit.FixedWindow,
				ratelimit.Rule{Limit: 3, Calendar: ratelimit.Day, Zone: berlin},
				ratelimit.Rule{Name: "minute", Limit: 3, Window: time.Minute})
			key := e.Namespace + ":{" + date + "}"
			run := func(after time.Duration, n int64) ratelimit.Result {
				t.Helper()
				r, err := v.Run(t.Context(), clientcore.Of(client), key, begin.Add(after).UnixMicro(), n)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			const rule = "3/day Europe/Berlin"
			day := time.Duration(hours) * time.Hour
			if r := run(-1*time.Microsecond, 3); !r.Allowed || r.Rule != rule || r.ResetAfter != time.Microsecond {
				t.Errorf("%s: before midnight: %+v", date, r)
			}
			for i, after := range []time.Duration{0, 3 * time.Hour, day - time.Hour} {
				if r := run(after, 1); !r.Allowed || r.Rule != rule || r.Remaining != int64(2-i) ||
					r.ResetAfter != day-after || r.NextAfter != day-after {
					t.Errorf("%s: %v after midnight: %+v, the day has %v", date, after, r, day)
				}
			}
			for _, after := range []time.Duration{day - time.Minute, day - time.Microsecond} {
				if r := run(after, 1); r.Allowed || r.Rule != rule || r.RetryAfter != day-after || r.ResetAfter != day-after {
					t.Errorf("%s: refused at %v: %+v, the day has %v", date, after, r, day)
				}
			}
			if r := run(day, 1); !r.Allowed || r.Remaining != 2 {
				t.Errorf("%s: on the next day: %+v", date, r)
			}
		}
	})
}

// calendarModel counts by the days of a zone in which midnight is never skipped.
type calendarModel struct {
	limit, count int64
	ends         int64
	zone         *time.Location
}

func (m *calendarModel) end(now int64) int64 {
	y, month, d := time.UnixMicro(now).In(m.zone).Date()
	return time.Date(y, month, d+1, 0, 0, 0, 0, m.zone).UnixMicro()
}

// seen returns the present window and its count.
func (m *calendarModel) seen(now int64) (end, count int64) {
	end = m.end(now)
	if m.count == 0 || m.ends < end {
		return end, 0
	}
	return min(m.ends, m.end(end)), m.count
}

func (m *calendarModel) admit(now, n int64) bool { _, count := m.seen(now); return count+n <= m.limit }
func (m *calendarModel) charge(now, n int64) {
	m.ends, m.count = m.seen(now)
	m.count += n
}
func (m *calendarModel) refund(now, n int64) {
	m.ends, m.count = m.seen(now)
	m.count = max(0, m.count-n)
}
func (m *calendarModel) settle(now int64) {
	if m.count > 0 && m.ends > m.end(m.end(now)) {
		m.ends, m.count = m.seen(now)
	}
}
func (m *calendarModel) clone() model { c := *m; return &c }
func (m *calendarModel) look(now int64) (remaining, reset int64) {
	end, count := m.seen(now)
	if count > 0 {
		reset = end - now
	}
	return m.limit - count, reset
}

// The script and its model agree over days on which the clocks change, also when the server's clock
// steps back.
func TestCalendarScriptEqualsItsModel(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		client := open(t, e.URL, e.Namespace)
		rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
		for round := range rounds(20) {
			rules := []ratelimit.Rule{
				{Limit: 1 + rng.Int64N(9), Calendar: ratelimit.Day, Zone: berlin},
				{Name: "window", Limit: 1 + rng.Int64N(9), Window: 7 * time.Hour},
			}
			v := ratelimit.NewVirtualTime(ratelimit.FixedWindow, rules...)
			m := &planModel{
				names: v.Names(), limit: []int64{rules[0].Limit, rules[1].Limit},
				rules: []model{&calendarModel{limit: rules[0].Limit, zone: berlin}, newModel(ratelimit.FixedWindow, rules[1])},
			}
			now := time.Date(2026, 3, 20, 0, 0, 0, 0, time.UTC).UnixMicro()
			if round%2 == 0 {
				now = time.Date(2026, 10, 18, 0, 0, 0, 0, time.UTC).UnixMicro()
			}
			key := fmt.Sprintf("%s:{calendar %d}", e.Namespace, round)
			for step := range 120 {
				switch p := rng.IntN(20); {
				case p == 0:
					now -= rng.Int64N(3 * 24 * 3600 * 1_000_000)
				case p < 15:
					now += rng.Int64N(6 * 3600 * 1_000_000)
				}
				n := rng.Int64N(min(rules[0].Limit, rules[1].Limit)+1) - rng.Int64N(3)/2
				got, err := v.Run(t.Context(), clientcore.Of(client), key, now, n)
				if want := m.call(now, n); err != nil || got != want {
					t.Fatalf("%+v\nstep %d: %d at %v\nscript %+v, %v\nmodel  %+v", rules, step, n,
						time.UnixMicro(now).In(berlin), got, err, want)
				}
				if n > 0 && !got.Allowed && rng.IntN(2) == 0 {
					now += got.RetryAfter.Microseconds() - 1
					if m.call(now, n).Allowed {
						t.Fatalf("admitted 1 µs before RetryAfter")
					}
					if r, err := v.Run(t.Context(), clientcore.Of(client), key, now, n); r.Allowed || err != nil {
						t.Fatalf("the script admitted 1 µs before RetryAfter: %+v, %v", r, err)
					}
					now++
				}
			}
		}
	})
}

// The server's clock decides in which window a request is. If the local clock is wrong, one call
// takes one more round trip. The key expires when its window ends.
func TestCalendarFollowsTheServersClock(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	l, err := ratelimit.New(open(t, server.URL(), "app"), "api", ratelimit.Options{
		Algorithm: ratelimit.FixedWindow, Outage: ratelimit.FailClosed,
		Rules: []ratelimit.Rule{{Name: "hour", Limit: 100, Calendar: ratelimit.Hour},
			{Name: "month", Limit: 1000, Calendar: ratelimit.Month, Zone: zone(t, "Asia/Tokyo")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time {
		parts := strings.Fields(server.CLI("TIME"))
		seconds, err := strconv.ParseInt(parts[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Unix(seconds, 0)
	}
	for i, ahead := range []time.Duration{0, -90 * 24 * time.Hour, 400 * 24 * time.Hour, -3 * time.Hour, 50 * time.Minute} {
		ratelimit.MisleadCalendar(l, ahead)
		before := server.CommandStats()["evalsha"]
		for n := range 3 {
			began := now()
			r := allow(t, l, "k", 1)
			if end := began.Truncate(time.Hour).Add(time.Hour); now().Before(end) &&
				(!r.Allowed || r.Remaining != int64(99-3*i-n) || r.ResetAfter > end.Sub(began) ||
					r.ResetAfter < end.Sub(now())-time.Second) {
				t.Errorf("a clock that is %v off: %+v, the hour ends in %v", ahead, r, end.Sub(began))
			}
		}
		if calls := server.CommandStats()["evalsha"] - before; calls > 4 {
			t.Errorf("a clock that is %v off: %d calls for 3 requests", ahead, calls)
		}
	}

	ms, err := strconv.ParseInt(server.CLI("PEXPIRETIME", "app:limit:api:{k}:fixed"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	end := ratelimit.CalendarAround(ratelimit.Month, now().In(zone(t, "Asia/Tokyo")))[2]
	if late := time.UnixMilli(ms).Sub(end); late < 0 || late > 10*time.Millisecond {
		t.Errorf("the key expires %v after the month's end (%v), keys: %s", late, end, server.CLI("KEYS", "*"))
	}
}

// The policy of a daily rule announces the length of the present window. Months, refunds, Peek and
// Wait work as with a Window.
func TestCalendarInTheMiddleware(t *testing.T) {
	t.Parallel()
	l, err := ratelimit.New(shared(t), "month", ratelimit.Options{
		Algorithm: ratelimit.FixedWindow, Outage: ratelimit.FailClosed,
		Rules: []ratelimit.Rule{{Name: "m", Limit: 2, Calendar: ratelimit.Month}},
	})
	if err != nil {
		t.Fatal(err)
	}
	handler := l.Middleware(ratelimit.ClientAddress())(ok)
	w := serve(handler)
	got := fields(t, w.Header())["m"]
	if w.Code != 200 || got["q"] != 2 || got["r"] != 1 || got["t"] == 0 || got["w"]%(24*3600) != 0 ||
		got["w"] < 28*24*3600 || got["w"] > 31*24*3600 || got["t"] > got["w"] {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	serve(handler)
	if w := serve(handler); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if err := l.Refund(t.Context(), "192.0.2.1", 1); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Peek(t.Context(), "192.0.2.1"); err != nil || !r.Allowed || r.Remaining != 1 {
		t.Errorf("after a refund: %+v, %v", r, err)
	}
	if err := l.Wait(t.Context(), "192.0.2.1"); err != nil {
		t.Error(err)
	}
}

func TestCalendarOptionsAreNamedInErrors(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for want, r := range map[string]ratelimit.Rule{
		"Rules[0].Calendar is Calendar(9)": {Limit: 1, Calendar: 9},
		"Rules[0].Window is 1s":            {Limit: 1, Calendar: ratelimit.Day, Window: time.Second},
		"Rules[0].Zone is Local":           {Limit: 1, Calendar: ratelimit.Day, Zone: time.Local},
		"Rules[0].Zone is UTC":             {Limit: 1, Window: time.Second, Zone: time.UTC},
		"Rules[0].Zone is \"Zürich\"":      {Limit: 1, Calendar: ratelimit.Day, Zone: time.FixedZone("Zürich", 3600)},
	} {
		if _, err := ratelimit.New(client, "n", ratelimit.Options{Algorithm: ratelimit.FixedWindow,
			Rules: []ratelimit.Rule{r}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
	}
	for _, a := range []ratelimit.Algorithm{ratelimit.GCRA, ratelimit.SlidingLog, ratelimit.SlidingWindow} {
		if _, err := ratelimit.New(client, "n", ratelimit.Options{Algorithm: a,
			Rules: []ratelimit.Rule{{Limit: 1, Calendar: ratelimit.Day}}}); err == nil ||
			!strings.Contains(err.Error(), "only FixedWindow") {
			t.Errorf("%v: %v", a, err)
		}
	}
}
