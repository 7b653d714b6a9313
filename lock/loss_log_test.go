package lock_test

import (
	"context"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/lock"
)

// stuck is a log handler that does not return from a line about lost locks until the test lets it.
type stuck struct {
	slog.Handler
	letGo <-chan struct{}
}

func (h stuck) Handle(ctx context.Context, line slog.Record) error {
	if strings.Contains(line.Message, "lost") {
		<-h.letGo
	}
	return h.Handler.Handle(ctx, line)
}

// TestK3_ASlowLoggerDelaysNoHolder: while the log handler hangs, every holder notices its loss, and
// other locks are renewed.
func TestK3_ASlowLoggerDelaysNoHolder(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	letGo := make(chan struct{})
	log := &logged{}
	client := open(t, server.URL(), "app", patient, func(cfg *redstart.Config) {
		cfg.Logger = slog.New(stuck{slog.NewTextHandler(log, nil), letGo})
	})
	l := newLocker(t, client, lock.Options{TTL: 3 * time.Second})
	const n = 300
	var all []*lock.Lock
	for i := range n {
		all = append(all, mustTry(t, l, strconv.Itoa(i)))
	}
	server.CLI("FLUSHALL")
	kept := mustTry(t, l, "kept")
	for _, held := range all {
		soon(t, "each holder learns of the loss", held.Context().Done())
	}
	before := l.Stats().Renewals
	rig.Eventually(t, 10*time.Second, "the other lock is renewed",
		func() bool { return l.Stats().Renewals >= before+2 || kept.Err() != nil })
	mustRelease(t, kept)
	if lost := l.Stats().Lost; lost != n {
		t.Errorf("%d of %d were lost", lost, n)
	}
	close(letGo)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	lines, reported := 0, 0
	for _, m := range lossLine.FindAllStringSubmatch(log.text(), -1) {
		lines++
		locks, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		reported += locks
	}
	if lines > 2 || reported != n {
		t.Errorf("%d lines report %d of %d lost locks:\n%s", lines, reported, n, log.text())
	}
}

var lossLine = regexp.MustCompile(`locks were lost.* locks=(\d+)`)
