package fault_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
)

func TestMessage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{
			fault.Classify(op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)), true),
			"redstart: server unavailable: dial tcp 127.0.0.1:6379: connect: connection refused; " +
				"check that the server runs and that REDIS_URL points to it, then retry",
		},
		{fault.Classify(io.EOF, true), "redstart: outcome unknown: EOF; it may have been executed: read before writing again"},
		{fault.New(fault.ErrTooLarge, nil, ""), "redstart: too large"},
		{fault.New(nil, errors.New("syntax error"), ""), "redstart: the server refused: syntax error"},
		{fault.Classify(errors.New("a\nb\x1b[31m\xffc"), false), "redstart: server unavailable: a b [31m c; retry later"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
	long := fault.Classify(errors.New(strings.Repeat("é", 1000)), false).Error()
	if len(long) > 400 || !strings.Contains(long, "…") {
		t.Errorf("%d bytes: %s", len(long), long)
	}
}

// TestA2_NoSecretInMessages covers a server that does not know AUTH and repeats the password, and
// errors of other libraries that repeat URLs.
func TestA2_NoSecretInMessages(t *testing.T) {
	t.Parallel()
	const secret = "S3CR3T"
	for _, raw := range []error{
		reply(t, "-ERR unknown command 'AUTH', with args beginning with: 'default' 'S3CR3T' "),
		reply(t, "-ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `u` `S3CR3T`, "),
		reply(t, "-ERR unknown command 'AUTH', with args: S3CR3T"),
		errors.New(`parse "redis://u:S3CR3T@host:port": invalid port`),
		errors.New(`dial redis://u:S3CR3T@host/0 and redis://:S3@CR3T/S3CR3T@host`),
		errors.New(`rediss://S3CR3T@h`),
	} {
		for _, wrote := range []bool{false, true} {
			err := fault.Classify(raw, wrote)
			if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, "CR3T") {
				t.Errorf("the secret is in %s", text)
			}
		}
	}
	if got := fault.New(nil, errors.New("see https://redis.io/docs and redis://u:p@h:1"),
		"").Error(); !strings.Contains(got, "https://redis.io/docs and redis://***@h:1") {
		t.Errorf("got %s", got)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("redis://u:", "@h")
	f.Add("unknown command 'AUTH', with args beginning with: ", "'")
	f.Fuzz(func(t *testing.T, before, after string) {
		text := fault.Classify(errors.New(before+after), true).Error()
		if strings.ContainsAny(text, "\n\r\x00\x1b") || len(text) > 500 {
			t.Fatalf("%q", text)
		}
		if !strings.ContainsAny(before, " \t\r\n\"'`") && !strings.ContainsAny(after, " \t\r\n\"'`") {
			masked := fault.New(nil, errors.New("redis://"+before+"S3CR3T"+after+"@h"), "").Error()
			if strings.Contains(masked, "S3CR3T") {
				t.Fatalf("%q", masked)
			}
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	raw := op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED))
	for _, bm := range []struct {
		name string
		err  error
	}{{"nil", nil}, {"redis nil", rueidis.Nil}, {"refused", raw}, {"canceled", context.Canceled}, {"eof", io.EOF}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = fault.Classify(bm.err, false)
			}
		})
	}
}
