package thin_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redstart-go/redstart/service/internal/thin"
)

func TestOneLineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(thin.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		})))
		said := func(want ...string) {
			t.Helper()
			if got := strings.Split(strings.TrimSpace(out.String()), "\n"); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the log has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			out.Reset()
		}
		for i := range 100 {
			log.With("from", "a logger of its own").Error("no answer", "i", i)
		}
		log.Warn("another message")
		log.Info("no warning")
		log.Info("no warning")
		said(`level=ERROR msg="no answer" from="a logger of its own" i=0`, `level=WARN msg="another message"`,
			`level=INFO msg="no warning"`, `level=INFO msg="no warning"`)

		time.Sleep(thin.Every - time.Nanosecond)
		log.Error("no answer")
		said("")
		time.Sleep(time.Nanosecond)
		log.Error("no answer", "i", 101)
		log.Error("no answer", "i", 102)
		said(`level=ERROR msg="no answer" i=101 suppressed=100`)
		time.Sleep(thin.Every)
		log.Error("no answer", "i", 103)
		said(`level=ERROR msg="no answer" i=103 suppressed=1`)
		time.Sleep(thin.Every)
		log.Error("no answer", "i", 104)
		said(`level=ERROR msg="no answer" i=104`)
	})
}

func TestMemoryIsBounded(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(thin.Handler(slog.NewTextHandler(&out, nil)))
	for i := range 5000 {
		log.Error(fmt.Sprint("message ", i%2500))
	}
	// The first thousand messages are sampled. All other messages pass.
	if got := strings.Count(out.String(), "\n"); got != 4000 {
		t.Errorf("%d lines, want 4000", got)
	}
}
