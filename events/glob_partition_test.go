package events_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// A pattern is subscribed to the glob partition of every channel that it matches.
func TestGlobPartitionsCoverWhatMatches(t *testing.T) {
	t.Parallel()
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"a", "b", "c", "", "dd", "*", "?", "[ab]", `\*`})
		end := rapid.SampledFrom([]string{":", ".", "/", `\:`, "[:]"})
		pattern, channel := "", ""
		add := func(part string) {
			pattern += part
			switch part { // a channel that matches the pattern
			case "*":
				channel += rapid.SampledFrom([]string{"", "a:b", "x", "a.b:c"}).Draw(t, "any")
			case "?":
				channel += rapid.SampledFrom([]string{":", "a", "."}).Draw(t, "one")
			case "[ab]":
				channel += "a"
			case `\:`, "[:]":
				channel += ":"
			case `\*`:
				channel += "*"
			default:
				channel += part
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "segments") {
			add(word.Draw(t, "word"))
			add(end.Draw(t, "end"))
		}
		add(word.Draw(t, "last"))
		if !events.Match(pattern, channel) {
			return
		}
		matched++
		if first, n, at := events.GlobPartitions(pattern, channel); at < first || at >= first+n {
			t.Fatalf("%q matches %q, which is in partition %d; the pattern is subscribed to %d from %d on",
				pattern, channel, at, n, first)
		}
	})
	if matched < 10 {
		t.Errorf("%d patterns matched", matched)
	}
}

// The partitions of channels never change, because processes of other releases use them too.
func TestGlobPartitionsNeverChange(t *testing.T) {
	t.Parallel()
	for channel, want := range map[string]int{"": 193, "users": 66, "users:42": 36, "users:42:x": 36, "a.b/c": 9} {
		if _, _, at := events.GlobPartitions("*", channel); at != want {
			t.Errorf("%q is in partition %d, want %d", channel, at, want)
		}
	}
}

// A process with a narrow pattern receives a part of the bus. The control is a pattern without a
// literal segment, which receives every event.
func TestPatternReceivesAPartOfTheBus(t *testing.T) {
	t.Parallel()
	rig.Engines(t, func(t *testing.T, e rig.Engine) {
		bus := live(t, e.URL, e.Namespace, events.LiveOptions{})
		const tenants, users = 32, 16
		subs, wants := map[string]*events.Subscriber{}, map[string]int{"*9:9:x": 3, "t7:*": users, "t7:3:*": 1}
		for pattern := range wants {
			subs[pattern] = subscriber(t, bus, pattern, events.SubscriberOptions{})
			must(t, notes.Handle(subs[pattern], pattern, func(context.Context, events.Event[note]) error { return nil }))
			run(t, subs[pattern])
		}
		for tenant := range tenants {
			for user := range users {
				must(t, notes.Publish(t.Context(), bus, fmt.Sprintf("t%d:%d:x", tenant, user), note{}))
			}
		}
		for pattern, want := range wants {
			rig.Eventually(t, 20*time.Second, "the events of "+pattern,
				func() bool { return int(subs[pattern].Stats().Handled) == want })
		}
		came := func(pattern string) int64 { s := subs[pattern].Stats(); return s.Received + s.Filtered }
		rig.Eventually(t, 20*time.Second, "every event", func() bool { return came("*9:9:x") == tenants*users })
		all, one, two := came("*9:9:x"), came("t7:*"), came("t7:3:*")
		t.Logf("of %d events came: %d without a literal segment, %d for one, %d for two", tenants*users, all, one, two)
		if one > all/4 || two > all/16 {
			t.Errorf("of %d events, %d came for a pattern with one literal segment and %d for two; want at most a quarter and a 16th",
				all, one, two)
		}
	})
}
