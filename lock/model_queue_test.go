package lock_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// waiting is a queue as the models see it.
type waiting struct {
	place      map[string]int64
	alive      map[string]int64
	heartbeats map[string]int64 // heartbeats: process → alive until
}

func newWaiting() waiting {
	return waiting{map[string]int64{}, map[string]int64{}, map[string]int64{}}
}

func processOf(id string) string { return strings.Split(id, ".")[1] }

func (q *waiting) leave(id string) bool {
	_, was := q.place[id]
	delete(q.place, id)
	delete(q.alive, id)
	return was
}

// order returns the queue from its head.
func (q *waiting) order() []string {
	ids := make([]string, 0, len(q.place))
	for id := range q.place {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		if c := q.place[a] - q.place[b]; c != 0 {
			return int(c)
		}
		return strings.Compare(a, b)
	})
	return ids
}

// first removes the dead waiters before the first live one, as the scripts do. A live process keeps
// its waiters alive.
func (q *waiting) first(now int64) string {
	for _, id := range q.order() {
		if q.alive[id] > now || q.heartbeats[processOf(id)] > now {
			return id
		}
		q.leave(id)
	}
	return ""
}

func (q *waiting) enter(id string, place, now int64) {
	if _, ok := q.place[id]; !ok {
		q.place[id] = place
	}
	q.alive[id] = now + modelAlive
	q.heartbeats[processOf(id)] = now + modelAlive
}

// firstSingle returns the first live waiter that does not wait for several locks. It removes the
// dead ones before it.
func (q *waiting) firstSingle(now int64) string {
	passedOver := map[string]int64{}
	defer func() {
		for id, place := range passedOver {
			q.place[id] = place
		}
	}()
	for {
		head := q.first(now)
		if head == "" || head[0] != 'a' {
			return head
		}
		passedOver[head] = q.place[head]
		delete(q.place, head)
	}
}

// lives records a heartbeat of a process, and returns whether the process counted as alive.
func (q *waiting) lives(process string, now int64) bool {
	if q.heartbeats[process] <= now {
		return false
	}
	q.heartbeats[process] = now + modelAlive
	return true
}

func (q *waiting) absent(ids []string) string {
	n, text := 0, ""
	for i, id := range ids {
		if _, ok := q.place[id]; !ok {
			n++
			text += fmt.Sprintf("\n%d", i+1)
		}
	}
	return strconv.Itoa(n) + text
}

// listed returns the queue as mutex_inspect.lua and shared_inspect.lua list it.
func (q *waiting) listed(now int64) (text string) {
	for _, id := range q.order() {
		place := q.place[id]
		if id[0] == 'r' {
			place -= 4e15
		}
		text += fmt.Sprintf("\n%s\n%d", id, now-place)
	}
	return text
}
