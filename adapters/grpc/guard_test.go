package redstartgrpc_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	redstartgrpc "github.com/redstart-go/redstart/adapters/grpc"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/session"
)

// calls are a unary call and a stream of the test service.
var calls = map[string]func(ctx context.Context, c grpc_health_v1.HealthClient, opts ...grpc.CallOption) error{
	"unary": func(ctx context.Context, c grpc_health_v1.HealthClient, opts ...grpc.CallOption) error {
		_, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, opts...)
		return err
	},
	"stream": func(ctx context.Context, c grpc_health_v1.HealthClient, opts ...grpc.CallOption) error {
		stream, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{}, opts...)
		if err != nil {
			return err
		}
		if _, err = stream.Recv(); err != nil && err.Error() == "EOF" {
			return nil
		}
		return err
	},
}

// refusal returns the rule and the retry delay of a RESOURCE_EXHAUSTED.
func refusal(t *testing.T, err error) (rule string, retry time.Duration) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != codes.ResourceExhausted {
		t.Fatalf("got %v, want RESOURCE_EXHAUSTED", err)
	}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *errdetails.QuotaFailure:
			rule = d.Violations[0].Subject
		case *errdetails.RetryInfo:
			retry = d.RetryDelay.AsDuration()
		}
	}
	return rule, retry
}

func TestLimit(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for name, call := range calls {
		l, err := ratelimit.New(client, name, ratelimit.Options{Rules: []ratelimit.Rule{{Name: "calls", Limit: 2, Window: time.Hour}}})
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		c := serve(t, func(context.Context) error { ran++; return nil }, redstartgrpc.Limit(l, redstartgrpc.Metadata("x-key")))
		ada := metadata.AppendToOutgoingContext(t.Context(), "x-key", "ada")
		for range 2 {
			if err := call(ada, c); err != nil {
				t.Fatal(err)
			}
		}
		rule, retry := refusal(t, call(ada, c))
		if rule != "calls" || retry <= 0 || retry > 30*time.Minute {
			t.Errorf("%s: refused by %q, retry in %v", name, rule, retry)
		}
		if err := call(metadata.AppendToOutgoingContext(t.Context(), "x-key", "bob"), c); err != nil {
			t.Errorf("%s: another key: %v", name, err)
		}
		if err := call(t.Context(), c); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: without a key: %v", name, err)
		}
		if ran != 3 {
			t.Errorf("%s: %d calls ran, want 3", name, ran)
		}
	}
}

// A limit of 0 has no RetryInfo. The key of Peer is an address.
func TestLimitOfZero(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	l, err := ratelimit.New(client, "api", ratelimit.Options{Rules: []ratelimit.Rule{{Name: "none", Limit: 0, Window: time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	c := serve(t, func(context.Context) error { return nil }, redstartgrpc.Limit(l, redstartgrpc.Peer()))
	if rule, retry := refusal(t, calls["unary"](t.Context(), c)); rule != "none" || retry != 0 {
		t.Errorf("refused by %q, retry in %v", rule, retry)
	}
}

func TestConcurrency(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	for name, call := range calls {
		limit, err := ratelimit.NewConcurrency(client, name, ratelimit.ConcurrencyOptions{Limit: 1, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		began, end := make(chan struct{}, 1), make(chan error)
		wait := func(context.Context) error { began <- struct{}{}; return <-end }
		c := serve(t, wait, redstartgrpc.Concurrency(limit, redstartgrpc.Peer()))
		first := make(chan error, 1)
		go func() { first <- call(t.Context(), c) }()
		<-began
		if rule, retry := refusal(t, call(t.Context(), c)); rule != "concurrency" || retry <= 0 {
			t.Errorf("%s: refused by %q, retry in %v", name, rule, retry)
		}
		end <- status.Error(codes.NotFound, "no such order")
		if err := <-first; status.Code(err) != codes.NotFound {
			t.Errorf("%s: the error of the handler is %v", name, err)
		}
		go func() { <-began; end <- nil }()
		if err := call(t.Context(), c); err != nil {
			t.Errorf("%s: after the first call: %v", name, err)
		}
	}
}

func TestSession(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	m, err := session.New[struct{}](client, "web", session.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ada, err := m.Create(t.Context(), "ada", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		var user string
		login := false
		c := serve(t, func(ctx context.Context) error {
			user = m.FromContext(ctx).User()
			if login {
				return m.Login(ctx, "bob")
			}
			return nil
		}, redstartgrpc.Session(m))
		for token, want := range map[string]string{
			"Bearer " + ada.Token(): "ada", "bearer  " + ada.Token(): "ada", "Bearer x": "", ada.Token(): "",
		} {
			var trailer metadata.MD
			err := call(metadata.AppendToOutgoingContext(t.Context(), "authorization", token), c, grpc.Trailer(&trailer))
			if err != nil || user != want || len(trailer["session-token"]) != 0 {
				t.Errorf("%s, %.10s: the user is %q, want %q; %v, %v", name, token, user, want, trailer, err)
			}
		}
		login = true
		var trailer metadata.MD
		if err := call(t.Context(), c, grpc.Trailer(&trailer)); err != nil {
			t.Fatal(err)
		}
		if tokens := trailer["session-token"]; len(tokens) != 1 {
			t.Errorf("%s: the trailer after a login is %v", name, trailer)
		} else if s, err := m.Load(t.Context(), tokens[0]); err != nil || s.User() != "bob" {
			t.Errorf("%s: the new token: %v, %v", name, s, err)
		}
	}
}

// While Redis is down, calls that need it are UNAVAILABLE, and no details reach the client.
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
	for name, guard := range map[string]redstartgrpc.Guard{
		"session": redstartgrpc.Session(m), "limit": redstartgrpc.Limit(l, redstartgrpc.Peer()),
		"concurrency": redstartgrpc.Concurrency(limit, redstartgrpc.Peer()),
	} {
		c := serve(t, func(context.Context) error { t.Error("the handler ran"); return nil }, guard)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+s.Token())
		err := calls["unary"](ctx, c)
		if status.Code(err) != codes.Unavailable || status.Convert(err).Message() != "the call cannot be checked at the moment" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
