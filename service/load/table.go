package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// table prints two results as a Markdown table.
func table(w io.Writer, clients int, d, latency time.Duration, without, with result) error {
	rows := [][3]string{
		{"requests per second", fmt.Sprintf("%.0f", without.perSecond()), fmt.Sprintf("%.0f", with.perSecond())},
		{"latency, median", ms(without.p50), ms(with.p50)},
		{"latency, 99th percentile", ms(without.p99), ms(with.p99)},
		{"failed requests", fmt.Sprint(without.failed), fmt.Sprint(with.failed)},
		{"cached reads answered from memory, from Redis, from the database", without.shares(), with.shares()},
		{"queries that read, per 1,000 requests", without.per1000(without.reads), with.per1000(with.reads)},
		{"statements that write, per 1,000 requests", without.per1000(without.writes), with.per1000(with.writes)},
	}
	for i, u := range without.used {
		rows = append(rows, [3]string{"processor time per request, " + u.part, without.perRequest(u), with.perRequest(with.used[i])})
	}
	database := "database on this machine"
	if latency > 0 {
		database = fmt.Sprintf("answers of the database after %v", latency)
	}
	_, err := fmt.Fprintf(w, "| %d clients for %v, %d processors for all programs, %s | database alone | with the caches |\n"+
		"|---|---|---|\n", clients, d, runtime.NumCPU(), database)
	for _, row := range rows {
		if err == nil {
			_, err = fmt.Fprintf(w, "| %s | %s | %s |\n", row[0], row[1], row[2])
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "\nWith the caches: %.2f times the requests per second, %.2f of the median latency.\n\n",
			with.perSecond()/without.perSecond(), with.p50.Seconds()/without.p50.Seconds())
	}
	return err
}

// perRequest returns the processor time of a part, divided by the number of requests.
func (r result) perRequest(u usage) string {
	if !u.measured {
		return "not measured"
	}
	return fmt.Sprintf("%d µs", u.time.Microseconds()/int64(r.requests))
}

func (r result) perSecond() float64 { return float64(r.requests) / r.took.Seconds() }

func (r result) per1000(n int64) string {
	return fmt.Sprintf("%.1f", 1000*float64(n)/float64(r.requests))
}

// shares returns the shares of the reads that a cache can serve. Stale values count as reads from
// Redis.
func (r result) shares() string {
	total := 0
	for _, n := range r.sources {
		total += n
	}
	if total == 0 {
		return "–"
	}
	share := func(n int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(total)) }
	return share(r.sources["near"]) + ", " + share(r.sources["hit"]+r.sources["stale"]) + ", " + share(r.sources["miss"])
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
