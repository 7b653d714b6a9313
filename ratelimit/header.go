package ratelimit

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The response fields follow draft-ietf-httpapi-ratelimit-headers-11:
//
//	RateLimit-Policy: "burst";q=100;w=60, "daily";q=1000;w=86400
//	RateLimit: "burst";r=50;t=30
//
// q is the quota, w the window in seconds, r what remains, t the seconds until there is more. Retry-After stands beside
// them on a refusal and says the same as t then. The draft is not final: FieldsOff switches the two off.

// policyField is the RateLimit-Policy of a plan. Windows below a second are rounded up to one, which the field can't say.
func (p *plan) policyField() string {
	var b strings.Builder
	for i := range p.rules {
		r := &p.rules[i]
		if i > 0 {
			b.WriteString(", ")
		}
		writeName(&b, r.Name)
		b.WriteString(";q=")
		b.WriteString(strconv.FormatInt(r.Limit, 10))
		b.WriteString(";w=")
		b.WriteString(strconv.FormatInt(seconds(r.Window), 10))
	}
	return b.String()
}

// limitField is the RateLimit of a result: the binding rule.
func limitField(result Result) string {
	var b strings.Builder
	b.Grow(len(result.Rule) + 32)
	writeName(&b, result.Rule)
	b.WriteString(";r=")
	remaining, after := result.Remaining, result.ResetAfter
	if !result.Allowed {
		// What is left is less than what was asked for, and more comes when Retry-After says.
		remaining, after = 0, result.RetryAfter
	}
	b.WriteString(strconv.FormatInt(remaining, 10))
	b.WriteString(";t=")
	b.WriteString(strconv.FormatInt(seconds(after), 10))
	return b.String()
}

// writeName writes a String of RFC 9651. Rule.check let printable ASCII pass alone.
func writeName(b *strings.Builder, name string) {
	b.WriteByte('"')
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(name[i])
	}
	b.WriteByte('"')
}

func setRetryAfter(h http.Header, after time.Duration) {
	h.Set("Retry-After", strconv.FormatInt(max(1, seconds(after)), 10))
}
