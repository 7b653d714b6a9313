package ratelimit

import (
	"fmt"
	"time"
)

// Calendar is a period of the calendar. A window of a calendar rule starts when the local clock of
// [Rule.Zone] starts another period. So a day on which the clocks change has 23 or 25 hours.
type Calendar uint8

// The calendar periods. A Week starts on Monday (ISO 8601).
const (
	Hour Calendar = 1 + iota
	Day
	Week
	Month
)

// String returns the period's name.
func (c Calendar) String() string {
	switch c {
	case 0:
		return "none"
	case Hour:
		return "hour"
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	}

	return fmt.Sprintf("Calendar(%d)", uint8(c))
}

// longest and shortest return the limits of a period's length, with a change of the clocks by up to
// two hours.
func (c Calendar) longest() time.Duration {
	return [...]time.Duration{Hour: 2 * time.Hour, Day: 26 * time.Hour, Week: 170 * time.Hour, Month: 746 * time.Hour}[c]
}

func (c Calendar) shortest() time.Duration {
	return [...]time.Duration{Hour: 30 * time.Minute, Day: 22 * time.Hour, Week: 118 * time.Hour, Month: 646 * time.Hour}[c]
}

// next returns the first instant after t at which the local clock of t's location starts another
// period. If the clock is set back over the start of a day, the day does not start twice. A period
// that the clock skips has no instant.
func (c Calendar) next(t time.Time) time.Time {
	if c == Hour {
		return nextHour(t)
	}

	year, month, day := t.Date()
	switch c {
	case Day:
		day++
	case Week:
		day += 7 - (int(t.Weekday())+6)%7
	default:
		month, day = month+1, 1
	}

	wall := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix()
	for { // one iteration per change of the clocks
		_, offset := t.Zone()
		_, changes := t.ZoneBounds()
		at := time.Unix(wall-int64(offset), 0).In(t.Location())
		if at.Before(t) { // the change has skipped the start
			at = t
		}
		if changes.IsZero() || at.Before(changes) {
			return at
		}
		t = changes
	}
}

// nextHour returns the first instant after t at which the local clock shows a full hour. An hour
// that the clock shows twice is two windows.
func nextHour(t time.Time) time.Time {
	const hour = int64(time.Hour / time.Second)
	for {
		_, offset := t.Zone()
		_, changes := t.ZoneBounds()
		local := t.Unix() + int64(offset)
		at := time.Unix(t.Unix()+hour-(local%hour+hour)%hour, 0).In(t.Location())
		if changes.IsZero() || at.Before(changes) {
			return at
		}
		if _, offset = changes.Zone(); (changes.Unix()+int64(offset))%hour == 0 {
			return changes
		}
		t = changes
	}
}

// calendarEnds is how many instants a script receives. They are right even if the estimate of the
// server's clock is wrong by a whole window.
const calendarEnds = 5

// around returns consecutive starts of windows. The second is the last one that is not after t.
func (c Calendar) around(t time.Time) (begins [calendarEnds]time.Time) {
	// the first start after at is not used, because at can lie between two starts of a day that
	// counts once
	at := t.Add(-4 * c.longest())
	n := 0
	for at = c.next(at); n < calendarEnds; {
		at = c.next(at)
		if n == calendarEnds-3 && !at.After(t) { // two starts are before t: drop the older one
			begins[0], n = begins[1], n-1
		}
		begins[n] = at
		n++
	}

	return begins
}
