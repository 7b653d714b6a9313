package ratelimit

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The response fields follow draft-ietf-httpapi-ratelimit-headers-11. Both are Lists of RFC 9651
// with one item per rule:
//
//	RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400
//	RateLimit: "burst";r=50;t=2, "daily";r=900;t=87
//
// q is the quota, and w is the window in seconds (of a calendar rule: its present window). r is
// what remains, at most q. t is the seconds until more than r remains. t is left out if all
// remains, if the time is not known, or if it never happens. An answer without a round trip knows
// the binding rule only, and lists no other rule. Nested middlewares append to the lists. The draft
// is not final: [FieldsOff] switches the fields off.

// quota returns what a rule announces: Limit per Window, or a larger burst and the time in which it
// refills. Windows below a second are rounded up to one second, because the field has no smaller
// unit.
func (r *rule) quota() (q, w int64) {
	if r.Burst <= r.Limit {
		return r.Limit, seconds(r.Window)
	}
	return r.Burst, max(1, int64(math.Ceil(float64(r.Burst)*r.Window.Seconds()/float64(r.Limit))))
}

// setFields appends the two fields to those of other middlewares. It returns the name under which
// they list the binding rule. If rules of two limiters have the same name, the limiter's name is
// put before it.
func (l *Limiter) setFields(h http.Header, result Result, seen *seen) (binds string) {
	policies, limits := []byte(joined(h, policyField)), []byte(joined(h, limitField))
	known := string(policies)
	for i := range l.plan.rules {
		r := &l.plan.rules[i]
		name := l.fieldName(known, r.Name)
		q, w := r.quota()
		if r.Calendar != 0 && l.plan.calendar != nil {
			w = l.plan.calendar.window(i)
		}
		policies = appendItem(policies, name)
		policies = appendParameter(policies, ";q=", q)
		policies = appendParameter(policies, ";w=", w)

		s := status{remaining: result.Remaining, next: result.NextAfter.Microseconds()}
		switch {
		case r.Name == result.Rule:
			binds = name
		case seen.answered:
			s = seen.rules[i]
		default:
			continue
		}
		limits = appendItem(limits, name)
		limits = appendParameter(limits, ";r=", min(s.remaining, q))
		if s.next > 0 {
			limits = appendParameter(limits, ";t=", seconds(micros(s.next)))
		}
	}

	if len(policies) > 0 { // a plan without limits announces nothing
		h[policyField], h[limitField] = []string{string(policies)}, []string{string(limits)}
	}

	return binds
}

// The names of the fields, as http.Header stores them.
const (
	policyField = "Ratelimit-Policy"
	limitField  = "Ratelimit"
)

// joined returns a field's list so far: several lines are one list.
func joined(h http.Header, name string) string { return strings.Join(h[name], ", ") }

// fieldName returns a rule's name in the fields. It is unique among the listed policies.
func (l *Limiter) fieldName(known, rule string) string {
	name := rule
	for i := 1; known != "" && strings.Contains(known, string(appendString(nil, name))+";"); i++ {
		if name = printable(l.name) + ":" + rule; i > 1 {
			name += "#" + strconv.Itoa(i)
		}
	}
	return name
}

// printable replaces the characters that a String of RFC 9651 cannot contain.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
}

func appendItem(list []byte, name string) []byte {
	if len(list) > 0 {
		list = append(list, ", "...)
	}
	return appendString(list, name)
}

// appendString appends a String of RFC 9651. Rule.check accepts only printable ASCII.
func appendString(b []byte, name string) []byte {
	b = append(b, '"')
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, name[i])
	}
	return append(b, '"')
}

func appendParameter(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
}

func setRetryAfter(h http.Header, after time.Duration) {
	h.Set("Retry-After", strconv.FormatInt(max(1, seconds(after)), 10))
}
