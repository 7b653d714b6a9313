package fault_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/redstart-go/redstart/internal/fault"
	"github.com/redstart-go/redstart/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

var classes = map[string]error{
	"unavailable": fault.ErrUnavailable, "indeterminate": fault.ErrIndeterminate, "denied": fault.ErrDenied,
	"full": fault.ErrFull, "corrupt": fault.ErrCorrupt, "too large": fault.ErrTooLarge,
}

// isOnly checks that err has the named class and no other, or no class for "".
func isOnly(t *testing.T, err error, class string) {
	t.Helper()
	if class != "" && classes[class] == nil {
		t.Fatalf("the test names an unknown class %q", class)
	}
	for name, sentinel := range classes {
		if got, want := errors.Is(err, sentinel), name == class; got != want {
			t.Errorf("%v: is %s: %v, want %v", err, name, got, want)
		}
	}
}

// reply returns the error of rueidis for an error reply.
func reply(t *testing.T, line string) error {
	t.Helper()
	client := answering(t, line)
	defer client.Close()
	err := client.Do(t.Context(), client.B().Arbitrary("ANYTHING").Build()).Error()
	if err == nil {
		t.Fatalf("no error for %q", line)
	}
	return err
}

// answering is a rueidis client of a server that answers the handshake, and then each command with
// line.
func answering(t *testing.T, line string) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{"127.0.0.1:1"}, ForceSingleClient: true, DisableCache: true, DisableRetry: true,
		DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			here, there := net.Pipe()
			go serve(there, line)
			return here, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func serve(conn net.Conn, line string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		command, err := readCommand(r)
		if err != nil {
			return
		}
		answer := line
		switch command[0] {
		case "HELLO":
			answer = "%1\r\n+version\r\n+7.0.15"
		case "CLIENT", "PING":
			answer = "+OK"
		}
		if _, err := io.WriteString(conn, answer+"\r\n"); err != nil {
			return
		}
	}
}

func readCommand(r *bufio.Reader) ([]string, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(head[1:]))
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		if head, err = r.ReadString('\n'); err != nil {
			return nil, err
		}
		size, err := strconv.Atoi(strings.TrimSpace(head[1:]))
		if err != nil {
			return nil, err
		}
		arg := make([]byte, size+2)
		if _, err := io.ReadFull(r, arg); err != nil {
			return nil, err
		}
		args[i] = string(arg[:size])
	}
	return args, nil
}

// TestA2_RepliesHaveClasses has the exact answers of Redis 7.0.15, Redis 7.2 and Valkey. After an
// answer, the outcome is never unknown.
func TestA2_RepliesHaveClasses(t *testing.T) {
	t.Parallel()
	const at = " script: 7c9f0601b3c77eb698f4b4d92609802408d308b3, on @user_script:1."
	for _, tt := range []struct{ line, class, step string }{
		{"-OOM command not allowed when used memory > 'maxmemory'.", "full", "maxmemory"},
		{"-OOM command not allowed when used memory > 'maxmemory'." + at, "full", "maxmemory"},
		{"-OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'", "full", ""},
		{"-ERR command not allowed when used memory > 'maxmemory'.", "full", ""},
		{"-EXECABORT Transaction discarded because of: OOM command not allowed", "full", ""},

		{"-NOAUTH Authentication required.", "denied", "REDIS_PASSWORD"},
		{"-WRONGPASS invalid username-password pair or user is disabled.", "denied", "REDIS_PASSWORD"},
		{"-ERR invalid password", "denied", "REDIS_PASSWORD"},
		{"-ERR AUTH <password> called without any password configured for the default user. " +
			"Are you sure your configuration is correct?", "denied", "no password"},
		{"-NOPERM this user has no permissions to run the 'scan' command", "denied", "+scan"},
		{"-NOPERM User tk has no permissions to run the 'script|load' command", "denied", "+script|load"},
		{"-NOPERM this user has no permissions to access one of the keys used as arguments", "denied", "ACL"},
		{"-NOPERM No permissions to access a key", "denied", "ACL"},
		{"-NOPERM No permissions to access a channel", "denied", "ACL"},
		{"-ERR The user executing the script can't run this command or subcommand" + at, "denied", "ACL"},
		{"-ERR The user executing the script can't run this command or subcommand", "denied", "ACL"},
		{"-ERR The user executing the script can't access at least one of the keys mentioned in the command arguments" + at, "denied",
			"ACL"},
		{"-ERR The user executing the script can't publish to the channel mentioned in the command" + at, "denied", "ACL"},
		{"-ERR ACL failure in script: User tk has no permissions to run the 'get' command" + at, "denied", "+get"},
		{"-ERR ACL failure in script: No permissions to access a key" + at, "denied", "ACL"},
		{"-DENIED Redis is running in protected mode because protected mode is enabled", "denied", "protected mode"},

		{"-WRONGTYPE Operation against a key holding the wrong kind of value", "corrupt", "REDIS_NAMESPACE"},
		{"-WRONGTYPE Operation against a key holding the wrong kind of value" + at, "corrupt", "REDIS_NAMESPACE"},
		{"-INVALIDOBJ Corrupted HLL object detected", "corrupt", ""},
		{"-ERR value is not an integer or out of range", "corrupt", ""},
		{"-ERR value is not an integer or out of range" + at, "corrupt", ""},
		{"-ERR hash value is not an integer", "corrupt", ""},
		{"-ERR hash value is not a float", "corrupt", ""},

		{"-ERR string exceeds maximum allowed size (proto-max-bulk-len)", "too large", "proto-max-bulk-len"},
		{"-ERR Protocol error: invalid bulk length", "too large", "proto-max-bulk-len"},

		{"-READONLY You can't write against a read only replica.", "unavailable", "replica"},
		{"-READONLY You can't write against a read only replica." + at, "unavailable", "replica"},
		{"-LOADING Redis is loading the dataset in memory", "unavailable", "retry"},
		{"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "unavailable", "retry"},
		{"-ERR Script killed by user with SCRIPT KILL..." + at, "unavailable", "retry"},
		{"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "unavailable", "retry"},
		{"-CLUSTERDOWN The cluster is down", "unavailable", "failover"},
		{"-CLUSTERDOWN Hash slot not served", "unavailable", "failover"},
		{"-TRYAGAIN Multiple keys request during rehashing of slot", "unavailable", "retry"},
		{"-MOVED 3999 127.0.0.1:6381", "unavailable", "redis+cluster://"},
		{"-ASK 3999 127.0.0.1:6381", "unavailable", "retry"},
		{"-NOREPLICAS Not enough good replicas to write.", "unavailable", "retry"},
		{"-NOREPLICAS Not enough good replicas to write." + at, "unavailable", "retry"},
		{"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
			"unavailable", "disk"},
		{"-MISCONF Errors writing to the AOF file: No space left on device", "unavailable", "disk"},
		{"-NOSCRIPT No matching script. Please use EVAL.", "unavailable", "retry"},
		{"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", "unavailable", "retry"},
		{"-ERR max number of clients reached", "unavailable", "REDIS_POOL_SIZE"},
		{"-ERR Script attempted to access a non local key in a cluster node" + at, "unavailable", "retry"},
		{"-ERR The server is shutting down", "unavailable", "retry"},

		{"-BUSYGROUP Consumer Group name already exists", "", ""},
		{"-NOGROUP No such key 'no' or consumer group 'g' in XREADGROUP with GROUP option", "", ""},
		{"-CROSSSLOT Keys in request don't hash to the same slot", "", ""},
		{"-EXECABORT Transaction discarded because of previous errors.", "", ""},
		{"-ERR syntax error", "", ""},
		{"-ERR DB index is out of range", "", "REDIS_URL"},
		{"-ERR SELECT is not allowed in cluster mode", "", "redis+cluster://"},
		{"-ERR user_script:1: hi" + at, "", ""},
		{"-ERR unknown command 'SPUBLISH', with args beginning with: 'ch' 'x' ", "", "7.0"},
		{"!21\r\nOOM in a blob error..", "full", ""},
	} {
		t.Run(tt.line, func(t *testing.T) {
			t.Parallel()
			raw := reply(t, tt.line)
			for _, wrote := range []bool{false, true} {
				err := fault.Classify(raw, wrote)
				isOnly(t, err, tt.class)
				if !errors.Is(err, raw) {
					t.Errorf("%v does not unwrap to %v", err, raw)
				}
				var redis *rueidis.RedisError
				if !errors.As(err, &redis) {
					t.Errorf("%v: errors.As does not find the reply", err)
				}
				if !strings.Contains(err.Error(), tt.step) {
					t.Errorf("%v: does not say %q", err, tt.step)
				}
				if again := fault.Classify(err, true); again != err {
					t.Errorf("classified twice: %v", again)
				}
			}
		})
	}
}

func TestNilIsNil(t *testing.T) {
	if fault.Classify(nil, true) != nil || fault.Foreign(nil, true) != nil {
		t.Error("nil became an error")
	}
	if err := fault.Classify(rueidis.Nil, true); !rueidis.IsRedisNil(err) {
		t.Errorf("the nil reply became %v", err)
	}
	if n := testing.AllocsPerRun(100, func() { _ = fault.Classify(nil, true) }); n != 0 {
		t.Errorf("%v allocations for nil, want 0", n)
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

func op(kind string, err error) error {
	return &net.OpError{Op: kind, Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6379}, Err: err}
}

// TestA2_LossesHaveClasses checks two kinds of calls. A call that was not sent may be retried. A
// call that may have been sent has an unknown outcome.
func TestA2_LossesHaveClasses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		err         error
		read, wrote string
	}{
		{"refused", op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)), "unavailable", "unavailable"},
		{"no socket", &net.OpError{Op: "dial", Net: "unix",
			Err: os.NewSyscallError("connect", syscall.ENOENT)}, "unavailable", "unavailable"},
		{"no route", op("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "unavailable", "unavailable"},
		{"dial timeout", op("dial", timeoutError{}), "unavailable", "unavailable"},
		{"dns", op("dial", &net.DNSError{Err: "no such host", Name: "redis", IsNotFound: true}), "unavailable", "unavailable"},
		{"bare dns", &net.DNSError{Err: "no such host", Name: "redis", IsNotFound: true}, "unavailable", "unavailable"},
		{"no slot", rueidis.ErrNoSlot, "unavailable", "unavailable"},
		{"no address", rueidis.ErrNoAddr, "unavailable", "unavailable"},
		{"recycled", rueidis.ErrDedicatedClientRecycled, "unavailable", "unavailable"},

		{"plain server", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
			"unavailable", "unavailable"},
		{"unknown authority", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "denied", "denied"},
		{"wrong host", fmt.Errorf("handshake: %w",
			x509.HostnameError{Host: "x", Certificate: &x509.Certificate{}}), "denied", "denied"},
		{"expired", x509.CertificateInvalidError{Reason: x509.Expired, Cert: &x509.Certificate{}}, "denied", "denied"},
		{"certificate required", op("remote error", tls.AlertError(116)), "denied", "denied"},
		{"certificate required, from afar", op("remote error", errors.New(tls.AlertError(116).Error())), "denied", "denied"},
		{"unknown ca", op("remote error", tls.AlertError(48)), "denied", "denied"},
		{"internal alert", op("remote error", tls.AlertError(80)), "unavailable", "indeterminate"},
		{"tracking refused", fmt.Errorf("NOPERM this user has no permissions to run the 'client|tracking' command: "+
			"[CLIENT TRACKING ON]\n%w", rueidis.ErrNoCache), "denied", "denied"},
		{"no tracking", fmt.Errorf("unknown subcommand: [CLIENT TRACKING ON]\n%w", rueidis.ErrNoCache), "", ""},
		{"no RESP3", rueidis.ErrRESP2PubSubMixed, "", ""},

		{"reset", op("read", os.NewSyscallError("read", syscall.ECONNRESET)), "unavailable", "indeterminate"},
		{"broken pipe", op("write", os.NewSyscallError("write", syscall.EPIPE)), "unavailable", "indeterminate"},
		{"eof", io.EOF, "unavailable", "indeterminate"},
		{"unexpected eof", io.ErrUnexpectedEOF, "unavailable", "indeterminate"},
		{"read timeout", op("read", os.ErrDeadlineExceeded), "unavailable", "indeterminate"},
		{"bare timeout", os.ErrDeadlineExceeded, "unavailable", "indeterminate"},
		{"closed", rueidis.ErrClosing, "unavailable", "indeterminate"},
		{"closed conn", op("read", net.ErrClosed), "unavailable", "indeterminate"},
		{"protocol", errors.New("received unknown message type: 72"), "unavailable", "indeterminate"},
		{"TLS without TLS", errors.New("received unknown message type: 21"), "unavailable", "indeterminate"},
		{"unknown", errors.New("connection is expired"), "unavailable", "indeterminate"},

		{"number", func() error { _, err := strconv.ParseInt("x", 10, 64); return err }(), "corrupt", "corrupt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for wrote, class := range map[bool]string{false: tt.read, true: tt.wrote} {
				err := fault.Classify(tt.err, wrote)
				isOnly(t, err, class)
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
					t.Errorf("%v is the caller's deadline", err)
				}
				if !errors.Is(err, tt.err) {
					t.Errorf("%v does not unwrap to %v", err, tt.err)
				}
				if !strings.Contains(err.Error(), "; ") {
					t.Errorf("%v names no next step", err)
				}
			}
		})
	}
}

// Timeouts of package net match context.DeadlineExceeded. They are never the caller's deadline.
func TestA1_DialTimeoutIsNotTheCallersDeadline(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, raw := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:1")
	if !errors.Is(raw, context.DeadlineExceeded) {
		t.Fatalf("%v: package net has changed, and this test with it", raw)
	}
	for _, classify := range []func(error, bool) error{fault.Classify, fault.Foreign} {
		for _, wrote := range []bool{false, true} {
			err := classify(raw, wrote)
			isOnly(t, err, "unavailable")
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is the caller's deadline", err)
			}
			var opError *net.OpError
			if !errors.As(err, &opError) || opError.Op != "dial" {
				t.Errorf("%v: errors.As does not find the dial error", err)
			}
		}
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	for _, raw := range []error{context.Canceled, context.DeadlineExceeded, fmt.Errorf("waiting: %w", context.Canceled)} {
		if err := fault.Classify(raw, false); err != raw {
			t.Errorf("read: %v, want %v as it is", err, raw)
		}
		err := fault.Classify(raw, true)
		isOnly(t, err, "indeterminate")
		if !errors.Is(err, raw) {
			t.Errorf("write: %v is not %v", err, raw)
		}
		for wrote, class := range map[bool]string{false: "unavailable", true: "indeterminate"} {
			err := fault.Foreign(raw, wrote)
			isOnly(t, err, class)
			if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("another's %v became one's own: %v", raw, err)
			}
		}
	}
	isOnly(t, fault.Foreign(io.EOF, true), "indeterminate")
	isOnly(t, fault.Foreign(reply(t, "-OOM x"), true), "full")
}

// A call that is not sent after a failure has the failure's text and next step, and the class
// ErrUnavailable alone.
func TestRefused(t *testing.T) {
	t.Parallel()
	refusal := errors.New("host:1: circuit breaker open")
	denied := fault.Classify(reply(t, "-WRONGPASS wrong password"), false)
	for want, last := range map[string]error{
		"io: read/write on closed pipe; retry later":                                                             io.ErrClosedPipe,
		"context deadline exceeded; retry later":                                                                 context.DeadlineExceeded,
		"WRONGPASS wrong password; check the user name and password (REDIS_URL, REDIS_USERNAME, REDIS_PASSWORD)": denied,
		"a replica; retry after the failover": errors.Join(
			fault.New(fault.ErrUnavailable, errors.New("a replica"), "retry after the failover"), io.EOF),
	} {
		err := fault.Refused(refusal, last)
		isOnly(t, err, "unavailable")
		if !errors.Is(err, refusal) || errors.Is(err, last) {
			t.Errorf("%v: errors.Is finds the refusal: %v, and the last failure: %v", err, errors.Is(err, refusal), errors.Is(err, last))
		}
		if got := err.Error(); got != "redstart: server unavailable: host:1: circuit breaker open: "+want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestClassifiedStays(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		fault.New(fault.ErrUnavailable, errors.New("breaker open"), "retry later"),
		fmt.Errorf("cache: get: %w", fault.New(fault.ErrFull, nil, "")),
		fmt.Errorf("cache: %w: 3 MiB", fault.ErrTooLarge),
	} {
		if got := fault.Classify(err, true); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
