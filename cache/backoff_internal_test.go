package cache

import (
	"strconv"
	"testing"
	"time"
)

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	t.Parallel()
	var now time.Duration
	b := backoff{now: func() time.Duration { return now }}
	for i := range 40 {
		if b.holds("k") || b.holds("another") {
			t.Fatalf("held back before failure %d", i)
		}
		b.failed("k")
		low, high := backoffFirst<<min(i, 10)/2, backoffFirst<<min(i, 10)
		low, high = min(low, backoffMax/2), min(high, backoffMax)
		if now += low - 1; !b.holds("k") {
			t.Fatalf("not held back just before %v after failure %d", low, i)
		}
		for until := now + high - low + 1; now < until && b.holds("k"); now += time.Millisecond {
		}
		if b.holds("k") {
			t.Fatalf("still held back %v after failure %d", high, i)
		}
	}
	now += backoffMax // no refresh for that long
	b.failed("k")
	if now += backoffFirst; b.holds("k") {
		t.Error("an old failure makes a new one's wait longer")
	}
}

func TestBackoffIsSpreadOut(t *testing.T) {
	t.Parallel()
	b := backoff{now: func() time.Duration { return 0 }}
	waits := make(map[time.Duration]bool)
	for i := range 100 {
		key := strconv.Itoa(i)
		b.failed(key)
		waits[b.keys[key].until] = true
	}
	if len(waits) < 50 {
		t.Errorf("a hundred keys that failed together wait for %d times", len(waits))
	}
}

func TestBackoffEnds(t *testing.T) {
	t.Parallel()
	b := backoff{now: func() time.Duration { return 0 }}
	for what, end := range map[string]func(string){"success": b.succeeded, "change": b.changed} {
		b.failed("k")
		b.failed("l")
		if end("k"); b.holds("k") || !b.holds("l") || !b.some.Load() {
			t.Errorf("after a %s of k: k is held back: %v, l: %v", what, b.holds("k"), b.holds("l"))
		}
		if end("l"); b.holds("l") || b.some.Load() || len(b.keys) != 0 {
			t.Errorf("after a %s of both something is remembered: %v", what, b.keys)
		}
	}
}

func TestBackoffMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Minute
	b := backoff{now: func() time.Duration { return now }}
	for i := range 2 * maxFailedKeys {
		b.failed(strconv.Itoa(i))
	}
	if len(b.keys) != maxFailedKeys {
		t.Fatalf("%d keys are remembered", len(b.keys))
	}
	last := strconv.Itoa(2*maxFailedKeys - 1)
	if !b.holds("0") || !b.holds(last) {
		t.Error("a key is tried again at once when there is no room for it")
	}
	if b.succeeded("0"); !b.holds(last) {
		t.Error("the success of a known key ends the wait that the others share")
	}
	b.failed("0")
	if b.succeeded(last); b.holds(last) || !b.holds("0") {
		t.Error("the success of one of the others does not end their wait")
	}
	now += 3 * backoffMax // all states are old
	b.failed("new")
	if _, known := b.keys["new"]; !known || len(b.keys) != 1 {
		t.Errorf("%d keys are remembered after all of them got old", len(b.keys))
	}
}
