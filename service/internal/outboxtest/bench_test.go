package outboxtest

import (
	"testing"
	"time"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// Rows per second from a full table to the bus, with deletion, over connections with latencies of 2
// ms and of 0 ms.
func BenchmarkOutboxRelay(b *testing.B) {
	for name, newDB := range map[string]func(testing.TB) *database{"sqlite": sqlite, "pgx": pgxDatabase} {
		for _, delay := range []time.Duration{0, 2 * time.Millisecond} {
			b.Run(name+"/"+delay.String(), func(b *testing.B) {
				proxy := rig.NewProxy(b, rig.Shared(b).Addr())
				proxy.Delay(delay / 2)
				db, bus := newDB(b), busAt(b, proxy.URL(), rig.Prefix(b), events.DurableOptions{Partitions: 16, MaxLen: 10_000})
				outbox := newOutbox(b, db, bus, events.OutboxOptions{})
				const rows = 20_000
				fill := `INSERT INTO outbox (channel, type, data) SELECT 'users:' || n % 1000, 'note', ` +
					`'{"n":' || n || ',"text":"about a hundred bytes, as many events have, with some text to fill it up"}' FROM `
				if db.pool != nil {
					fill += "generate_series(1, 20000) n"
				} else {
					fill = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 20000) " + fill + "s"
				}
				var took time.Duration
				for b.Loop() {
					b.StopTimer()
					db.do(b, fill)
					b.StartTimer()
					began := time.Now()
					for left := rows; left > 0; {
						n, err := outbox.Relay(b.Context())
						if err != nil {
							b.Fatal(err)
						}
						left -= n
					}
					took += time.Since(began)
				}
				b.ReportMetric(float64(b.N)*rows/took.Seconds(), "rows/s")
			})
		}
	}
}
