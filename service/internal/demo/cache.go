package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/cache"
)

// Bounds of the cache story.
const (
	readers  = 100         // start together, half of them in each instance
	watching = time.Second // for the end of the copy of instance B
)

// instance is one process of the story: a client with its own connection and memory.
type instance struct {
	name     string
	people   *cache.Cache[Person]
	database *source
}

// CacheStory shows where a read is served from, and what a change ends. Its instance A uses the
// client of the shop, and instance B uses another client.
type CacheStory struct {
	a, b     *instance
	database *source
	turn     chan struct{} // one action at a time, so that counts belong to one action
}

func newCacheStory(a, b *redstart.Client, accounts *accounts) (*CacheStory, error) {
	s := &CacheStory{database: &source{accounts: accounts}, turn: make(chan struct{}, 1)}
	var err error
	if s.a, err = newInstance("A", a, s.database); err != nil {
		return nil, err
	}
	s.b, err = newInstance("B", b, s.database)
	return s, err
}

func newInstance(name string, client *redstart.Client, database *source) (*instance, error) {
	people, err := openPeople(client)
	return &instance{name, people, database}, err
}

// begin waits for the turn of an action, and returns the key of the user of the story and a
// function that ends the turn.
func (s *CacheStory) begin(ctx context.Context) (key string, end func(), err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return "", nil, fmt.Errorf("demo: cache story: wait for the action before: %w", ctx.Err())
	}
	end = func() { <-s.turn }
	id, err := s.database.person(ctx)
	if err != nil {
		end()
		return "", nil, fmt.Errorf("demo: cache story: find its user: %w", err)
	}
	return strconv.FormatInt(id, 10), end, nil
}

// Step is a part of a read: the place, what it answered, and its time.
type Step struct {
	Place   string  `json:"place"`   // memory, redis, database or store
	Outcome string  `json:"outcome"` // hit, miss, unavailable, read, stored, waited
	Millis  float64 `json:"ms"`
}

// Reading is a read through one instance.
type Reading struct {
	Person
	Instance string  `json:"instance"`
	Source   string  `json:"source"` // near, hit, stale or miss
	Steps    []Step  `json:"steps"`
	Millis   float64 `json:"ms"`
}

// Read reads the user of the story through instance A or B.
func (s *CacheStory) Read(ctx context.Context, name string) (Reading, error) {
	key, end, err := s.begin(ctx)
	if err != nil {
		return Reading{}, err
	}
	defer end()
	through := s.a
	if name == "B" {
		through = s.b
	}
	return through.timed(ctx, key)
}

// timed reads a key, and derives the steps from the source and from the time of the load.
func (i *instance) timed(ctx context.Context, key string) (Reading, error) {
	var load span
	var from cache.Source
	failed := i.people.Stats().Errors
	start := time.Now()
	person, err := i.read(context.WithValue(ctx, timing{}, &load), key, cache.From(&from))
	end := time.Now()
	if err != nil {
		return Reading{}, err
	}

	searched := "miss"
	if i.people.Stats().Errors > failed {
		searched = "unavailable"
	}
	r := Reading{Person: person, Instance: i.name, Source: from.String(), Millis: millisOf(end.Sub(start))}
	switch {
	case from == cache.FromNear:
		r.Steps = []Step{{"memory", "hit", r.Millis}}
	case from != cache.FromLoader:
		r.Steps = []Step{{"memory", "miss", 0}, {"redis", "hit", r.Millis}}
	case load.ended.IsZero(): // another call loaded
		r.Steps = []Step{{"memory", "miss", 0}, {"redis", "waited", r.Millis}}
	default:
		r.Steps = []Step{
			{"memory", "miss", 0},
			{"redis", searched, millisOf(load.began.Sub(start))},
			{"database", "read", millisOf(load.ended.Sub(load.began))},
		}
		if searched == "miss" {
			r.Steps = append(r.Steps, Step{"store", "stored", millisOf(end.Sub(load.ended))})
		}
	}
	return r, nil
}

func millisOf(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// Renaming is a change of the user of the story through instance A.
type Renaming struct {
	Before     string  `json:"before"`
	After      string  `json:"after"`
	Millis     float64 `json:"ms"`          // of the change in the database and of the invalidation
	Pending    bool    `json:"pending"`     // Redis did not confirm the invalidation; A repeats it
	Gone       bool    `json:"gone"`        // the copy of B has ended
	GoneMillis float64 `json:"gone_ms"`     // from the return of A's call to B's first new answer
	OldAnswers int     `json:"old_answers"` // of B in that time
}

// Rename changes the name through A, while B has a copy, and watches for up to 1 s when B returns
// the new name.
func (s *CacheStory) Rename(ctx context.Context, name string) (Renaming, error) {
	key, end, err := s.begin(ctx)
	if err != nil {
		return Renaming{}, err
	}
	defer end()
	before, err := s.b.read(ctx, key)
	if err != nil {
		return Renaming{}, err
	}

	failed := s.a.people.Stats().FailedInvalidations
	start := time.Now()
	err = s.a.rename(ctx, key, name)
	r := Renaming{Before: before.Name, Pending: s.a.people.Stats().FailedInvalidations > failed}
	if err != nil && !r.Pending { // the name is not saved
		return Renaming{}, err
	}
	r.Millis = millisOf(time.Since(start))
	after, err := s.a.read(ctx, key)
	if err != nil {
		return Renaming{}, err
	}
	r.After = after.Name
	return r, s.watch(ctx, key, &r)
}

// watch reads through B until B returns the new name.
func (s *CacheStory) watch(ctx context.Context, key string, r *Renaming) error {
	ctx, cancel := context.WithTimeout(ctx, watching)
	defer cancel()
	ticker := time.NewTicker(200 * time.Microsecond)
	defer ticker.Stop()
	start := time.Now()
	for {
		person, err := s.b.read(ctx, key)
		switch {
		case ctx.Err() != nil:
			return nil // Gone is false
		case err != nil:
			return err
		case person.Name == r.After:
			r.Gone, r.GoneMillis = true, millisOf(time.Since(start))
			return nil
		}
		r.OldAnswers++
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// Crowd is the result of many readers of one new key.
type Crowd struct {
	Readers int     `json:"readers"`
	Loads   int64   `json:"loads"`
	Failed  int     `json:"failed"`
	Millis  float64 `json:"ms"` // until the last reader had its answer
}

// Readers starts 100 readers of a key that no cache has, half of them in each instance.
func (s *CacheStory) Readers(ctx context.Context) (Crowd, error) {
	key, end, err := s.begin(ctx)
	if err != nil {
		return Crowd{}, err
	}
	defer end()
	key += "#" + rand.Text() // a new key

	before, failed := s.database.loads.Load(), make([]error, readers)
	var all sync.WaitGroup
	start := time.Now()
	for n := range readers {
		through := s.a
		if n%2 == 1 {
			through = s.b
		}
		all.Go(func() { _, failed[n] = through.read(ctx, key) })
	}
	all.Wait()
	c := Crowd{Readers: readers, Loads: s.database.loads.Load() - before, Millis: millisOf(time.Since(start))}
	for _, err := range failed {
		if err != nil {
			c.Failed++
		}
	}
	if c.Failed == readers {
		return c, failed[0]
	}
	return c, nil
}
