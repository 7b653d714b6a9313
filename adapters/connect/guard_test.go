package redstartconnect_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/emptypb"

	redstartconnect "github.com/redstart-go/redstart/adapters/connect"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

func TestMain(m *testing.M) { rig.Main(m) }

var open = rigclient.Open

type empty = emptypb.Empty

// call calls a procedure of the test server with header fields. It returns the trailer of the
// response or the metadata of the error.
type call func(header map[string]string) (http.Header, error)

// serve starts a Connect server whose procedures run handle. It returns a unary call and a stream.
func serve(t testing.TB, handle func(ctx context.Context) error, guards ...redstartconnect.Guard) map[string]call {
	t.Helper()
	with := connect.WithInterceptors(redstartconnect.Interceptor(guards...))
	mux := http.NewServeMux()
	mux.Handle("/t.T/Unary", connect.NewUnaryHandler("/t.T/Unary",
		func(ctx context.Context, _ *connect.Request[empty]) (*connect.Response[empty], error) {
			return connect.NewResponse(&empty{}), handle(ctx)
		}, with))
	mux.Handle("/t.T/Stream", connect.NewServerStreamHandler("/t.T/Stream",
		func(ctx context.Context, _ *connect.Request[empty], _ *connect.ServerStream[empty]) error {
			return handle(ctx)
		}, with))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	request := func(header map[string]string) *connect.Request[empty] {
		r := connect.NewRequest(&empty{})
		for name, value := range header {
			r.Header().Set(name, value)
		}
		return r
	}
	meta := func(err error) http.Header {
		if failed, ok := errors.AsType[*connect.Error](err); ok {
			return failed.Meta()
		}
		return nil
	}
	unary := connect.NewClient[empty, empty](server.Client(), server.URL+"/t.T/Unary")
	stream := connect.NewClient[empty, empty](server.Client(), server.URL+"/t.T/Stream")
	return map[string]call{
		"unary": func(header map[string]string) (http.Header, error) {
			res, err := unary.CallUnary(t.Context(), request(header))
			if err != nil {
				return meta(err), err
			}
			return res.Trailer(), nil
		},
		"stream": func(header map[string]string) (http.Header, error) {
			res, err := stream.CallServerStream(t.Context(), request(header))
			if err != nil {
				return meta(err), err
			}
			defer res.Close()
			for res.Receive() {
				t.Error("a message")
			}
			return res.ResponseTrailer(), res.Err()
		},
	}
}

// retryOf returns the retry delay of a refusal.
func retryOf(t *testing.T, err error) time.Duration {
	t.Helper()
	failed, ok := errors.AsType[*connect.Error](err)
	if !ok || failed.Code() != connect.CodeResourceExhausted {
		t.Fatalf("got %v, want CodeResourceExhausted", err)
	}
	for _, detail := range failed.Details() {
		value, err := detail.Value()
		if err != nil {
			t.Fatal(err)
		}
		if info, ok := value.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestLimit(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for _, kind := range []string{"unary", "stream"} {
		l, err1 := ratelimit.New(client, kind, ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(2)}})
		none, err2 := ratelimit.New(client, kind+" none", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(0)}})
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		ran := 0
		handle := func(context.Context) error { ran++; return nil }
		c := serve(t, handle, redstartconnect.Limit(l, redstartconnect.Header("X-Key")))[kind]
		ada := map[string]string{"X-Key": "ada"}
		for range 2 {
			if _, err := c(ada); err != nil {
				t.Fatal(err)
			}
		}
		_, err := c(ada)
		if retry := retryOf(t, err); retry <= 0 || retry > 30*time.Minute {
			t.Errorf("%s: retry in %v", kind, retry)
		}
		if _, err := c(map[string]string{"X-Key": "bob"}); err != nil {
			t.Errorf("%s: another key: %v", kind, err)
		}
		if _, err := c(nil); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: without a key: %v", kind, err)
		}
		_, err = serve(t, handle, redstartconnect.Limit(none, redstartconnect.Peer))[kind](nil)
		if retry := retryOf(t, err); retry != 0 {
			t.Errorf("%s: a limit of 0: retry in %v", kind, retry)
		}
		if ran != 3 {
			t.Errorf("%s: %d calls ran, want 3", kind, ran)
		}
	}
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for _, kind := range []string{"unary", "stream"} {
		limit, err := ratelimit.NewConcurrency(client, kind, ratelimit.ConcurrencyOptions{Limit: 1, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		began, end := make(chan struct{}, 1), make(chan error)
		wait := func(context.Context) error { began <- struct{}{}; return <-end }
		c := serve(t, wait, redstartconnect.Concurrency(limit, redstartconnect.Peer))[kind]
		first := make(chan error, 1)
		go func() { _, err := c(nil); first <- err }()
		<-began
		_, err = c(nil)
		if retry := retryOf(t, err); retry <= 0 {
			t.Errorf("%s: retry in %v", kind, retry)
		}
		end <- connect.NewError(connect.CodeNotFound, errors.New("no such order"))
		if err := <-first; connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%s: the error of the handler is %v", kind, err)
		}
		go func() { <-began; end <- nil }()
		if _, err := c(nil); err != nil {
			t.Errorf("%s: after the first call: %v", kind, err)
		}
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	m, err := session.New[struct{}](open(t, rig.Embedded(t).URL(), "app"), "web", session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ada, err := m.Create(t.Context(), "ada", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"unary", "stream"} {
		var user string
		var login bool
		var result error
		c := serve(t, func(ctx context.Context) error {
			user = m.FromContext(ctx).User()
			if login {
				if err := m.Login(ctx, "bob"); err != nil {
					return err
				}
			}
			return result
		}, redstartconnect.Session(m))[kind]
		for token, want := range map[string]string{
			"Bearer " + ada.Token(): "ada", "bearer " + ada.Token(): "ada", "Bearer x": "", ada.Token(): "",
		} {
			trailer, err := c(map[string]string{"Authorization": token})
			if err != nil || user != want || trailer.Get(session.TokenHeader) != "" {
				t.Errorf("%s, %.10s: the user is %q, want %q; %v, %v", kind, token, user, want, trailer, err)
			}
		}
		login = true
		for _, result = range []error{nil, connect.NewError(connect.CodeNotFound, errors.New("no such order")), errors.New("plain")} {
			trailer, err := c(nil)
			if (err == nil) != (result == nil) {
				t.Errorf("%s: %v, want %v", kind, err, result)
			}
			if s, err := m.Load(t.Context(), trailer.Get(session.TokenHeader)); err != nil || s.User() != "bob" {
				t.Errorf("%s with %v: the new token: %v, %v", kind, result, s, err)
			}
		}
	}
}

// While Redis is down, calls that need it are unavailable, and no details reach the client.
func TestOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app", rigclient.Within(300*time.Millisecond))
	m, err1 := session.New[struct{}](client, "web", session.Options{})
	l, err2 := ratelimit.New(client, "l", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerSecond(1)}, Outage: ratelimit.FailClosed})
	limit, err3 := ratelimit.NewConcurrency(client, "c", ratelimit.ConcurrencyOptions{Limit: 1, Outage: ratelimit.FailClosed})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	s, err := m.Create(t.Context(), "ada", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	for name, guard := range map[string]redstartconnect.Guard{
		"session": redstartconnect.Session(m), "limit": redstartconnect.Limit(l, redstartconnect.Peer),
		"concurrency": redstartconnect.Concurrency(limit, redstartconnect.Peer),
	} {
		c := serve(t, func(context.Context) error { t.Error("the handler ran"); return nil }, guard)["unary"]
		_, err := c(map[string]string{"Authorization": "Bearer " + s.Token()})
		if connect.CodeOf(err) != connect.CodeUnavailable || err.Error() != "unavailable: the call cannot be checked at the moment" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
