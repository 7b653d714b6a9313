package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// measurement is one shop with one database.
type measurement struct {
	shop       shopConfig
	latency    time.Duration
	redis, sql int // process ids
}

// result is what a measurement found.
type result struct {
	requests, failed int
	took             time.Duration
	p50, p99         time.Duration
	reads, writes    int64          // statements sent to the database
	sources          map[string]int // number of cached reads by X-Cache
	used             []usage
}

// usage is the processor time of a part.
type usage struct {
	part     string
	pid      int
	children bool // are counted too
	time     time.Duration
	measured bool
}

// run starts the parts, sends the requests and stops the parts.
func (m measurement) run(ctx context.Context, d time.Duration) (r result, err error) {
	parts := []usage{
		{part: "clients", pid: os.Getpid()},
		{part: "shop"},
		{part: "Redis", pid: m.redis},
		{part: "PostgreSQL", pid: m.sql, children: true},
	}
	if m.latency > 0 {
		database, delay, stop, failed := delayed(m.shop.Database, m.latency)
		if failed != nil {
			return r, failed
		}
		defer func() { err = errors.Join(err, stop()) }()
		m.shop.Database = database
		parts = append(parts, usage{part: "delay", pid: delay.pid()})
	}
	var ready shopReady
	shop, err := startPart("shop", m.shop, &ready)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, shop.stop()) }()
	parts[1].pid = shop.pid()

	var before, after statements
	if err := errors.Join(shop.ask(true, &before), used(parts, false)); err != nil {
		return r, err
	}
	if r, err = load(ctx, d, ready); err != nil {
		return r, err
	}
	if err := errors.Join(used(parts, true), shop.ask(true, &after)); err != nil {
		return r, err
	}
	r.reads, r.writes, r.used = after.Reads-before.Reads, after.Writes-before.Writes, parts
	return r, nil
}

// used stores the processor time of each part so far; after replaces it by what was used since.
func used(parts []usage, after bool) error {
	for i := range parts {
		d, measured, err := processorTime(parts[i].pid, parts[i].children)
		if err != nil {
			return err
		}
		if after {
			d -= parts[i].time
		}
		parts[i].time = d
		parts[i].measured = measured
	}
	return nil
}

// load sends requests for a time.
func load(ctx context.Context, d time.Duration, shop shopReady) (result, error) {
	all := make([]*client, len(shop.Cookies))
	for i, cookie := range shop.Cookies {
		all[i] = &client{addr: shop.Addr, id: i + 1, cookie: shop.Name + "=" + cookie, sources: map[string]int{}}
	}
	timed, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() { c.run(ctx, timed) })
	}
	wg.Wait()

	r := result{took: time.Since(began), sources: map[string]int{}}
	var took []time.Duration
	for _, c := range all {
		took = append(took, c.took...)
		r.failed += c.failed
		for source, n := range c.sources {
			r.sources[source] += n
		}
	}
	if len(took) == 0 {
		return r, fmt.Errorf("no request succeeded, %d failed", r.failed)
	}
	slices.Sort(took)
	r.requests, r.p50, r.p99 = len(took), took[len(took)/2], took[len(took)*99/100]
	return r, nil
}

// delayed starts a delay in front of a database, and returns the database's URL through it.
func delayed(database string, latency time.Duration) (_ string, _ *process, stop func() error, err error) {
	u, err := url.Parse(database)
	if err != nil {
		return "", nil, nil, err
	}
	dir, err := os.MkdirTemp("", "redstart-dl") // short, because the path of a socket has at most 107 bytes
	if err != nil {
		return "", nil, nil, err
	}
	const socket = ".s.PGSQL.5432" // the name that PostgreSQL and its clients use in a folder
	query := u.Query()
	var ready bool
	delay, err := startPart("delay", delayConfig{
		Target: filepath.Join(query.Get("host"), socket), Socket: filepath.Join(dir, socket), Latency: latency}, &ready)
	if err != nil {
		return "", nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	query.Set("host", dir)
	u.RawQuery = query.Encode()
	return u.String(), delay, func() error { return errors.Join(delay.stop(), os.RemoveAll(dir)) }, nil
}
