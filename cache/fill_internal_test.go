package cache

import (
	"testing"
	"time"
)

// A result is shared with the calls that its sharers name. A zero time has no special meaning.
func TestSharers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, test := range map[string]struct {
		sharers sharers
		began   time.Time
		offline bool
		want    bool
	}{
		"an error without an answer of the source": {sharers{who: everyCall}, now, false, true},
		"an earlier call":                          {sharers{earlierCalls, now}, now.Add(-1), false, true},
		"a call at the same time":                  {sharers{earlierCalls, now}, now, false, true},
		"a later call":                             {sharers{earlierCalls, now}, now.Add(1), false, false},
		"a later call without the server":          {sharers{earlierCalls, now}, now.Add(1), true, false},
		"a time that was not set":                  {sharers{who: earlierCalls}, now, false, false},
		"of an outage, an earlier call":            {sharers{offlineCalls, now}, now, false, true},
		"of an outage, a later call":               {sharers{offlineCalls, now}, now.Add(1), false, false},
		"of an outage, a later call in the outage": {sharers{offlineCalls, now}, now.Add(1), true, true},
		"of an outage, a time that was not set":    {sharers{who: offlineCalls}, now, false, false},
	} {
		if got := test.sharers.include(test.began, test.offline); got != test.want {
			t.Errorf("%s: shared %v, want %v", name, got, test.want)
		}
	}
}
