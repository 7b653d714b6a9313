package redstartgrpc_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
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
		c := serve(t, func(context.Context) error { ran++; return nil }, l.Middleware(ratelimit.Header("X-Key")))
		ada := metadata.AppendToOutgoingContext(t.Context(), "x-key", "ada")
		for range 2 {
			var trailer metadata.MD
			err := call(ada, c, grpc.Trailer(&trailer))
			if err != nil || len(trailer["ratelimit"]) != 1 || len(trailer["ratelimit-policy"]) != 1 {
				t.Fatalf("%v, trailer %v", err, trailer)
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

// A limit of 0 has no RetryInfo. The key can be the address of the connection and the method.
func TestKeys(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	none, err1 := ratelimit.New(client, "none", ratelimit.Options{Rules: []ratelimit.Rule{{Name: "none", Limit: 0, Window: time.Hour}}})
	one, err2 := ratelimit.New(client, "one", ratelimit.Options{Rules: []ratelimit.Rule{{Name: "one", Limit: 1, Window: time.Hour}}})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	handle := func(context.Context) error { return nil }
	c := serve(t, handle, none.Middleware(ratelimit.ClientAddress()))
	if rule, retry := refusal(t, calls["unary"](t.Context(), c)); rule != "none" || retry != 0 {
		t.Errorf("refused by %q, retry in %v", rule, retry)
	}

	var keys []string
	route := func(r *http.Request) (string, error) {
		key, err := ratelimit.Route(nil)(r)
		keys = append(keys, key)
		return key, err
	}
	c = serve(t, handle, one.Middleware(route))
	for _, kind := range []string{"unary", "stream"} {
		if err := calls[kind](t.Context(), c); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if rule, _ := refusal(t, calls[kind](t.Context(), c)); rule != "one" {
			t.Errorf("%s: refused by %q", kind, rule)
		}
	}
	const check, watch = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
	if want := []string{check, check, watch, watch}; !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
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
		c := serve(t, wait, limit.Middleware(ratelimit.ClientAddress()))
		first := make(chan error, 1)
		go func() { first <- call(t.Context(), c) }()
		<-began
		if _, retry := refusal(t, call(t.Context(), c)); retry <= 0 {
			t.Errorf("%s: retry in %v", name, retry)
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
	m, err := session.New[struct{}](client, "web", session.Options{Bearer: true})
	if err != nil {
		t.Fatal(err)
	}
	ada, err := m.Create(t.Context(), "ada", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
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
		}, m.Middleware)
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
		for _, result = range []error{nil, status.Error(codes.NotFound, "no such order")} {
			var trailer metadata.MD
			err := call(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer"), c, grpc.Trailer(&trailer))
			if status.Code(err) != status.Code(result) {
				t.Errorf("%s: %v, want %v", name, err, result)
			}
			if tokens := trailer["session-token"]; len(tokens) != 1 {
				t.Errorf("%s: the trailer after a login is %v", name, trailer)
			} else if s, err := m.Load(t.Context(), tokens[0]); err != nil || s.User() != "bob" {
				t.Errorf("%s: the new token: %v, %v", name, s, err)
			}
		}
	}
}

// While Redis is down, calls that need it are UNAVAILABLE, and no details reach the client.
func TestOutage(t *testing.T) {
	t.Parallel()
	server := rig.Standalone(t)
	client := open(t, server.URL(), "app", rigclient.Within(300*time.Millisecond))
	m, err1 := session.New[struct{}](client, "web", session.Options{Bearer: true})
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
	for want, middleware := range map[string]func(http.Handler) http.Handler{
		"Service Unavailable":                                   m.Middleware,
		"The request limit cannot be checked at the moment":     l.Middleware(ratelimit.ClientAddress()),
		"The concurrency limit cannot be checked at the moment": limit.Middleware(ratelimit.ClientAddress()),
	} {
		c := serve(t, func(context.Context) error { t.Error("the handler ran"); return nil }, middleware)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+s.Token())
		if got := status.Convert(calls["unary"](ctx, c)); got.Code() != codes.Unavailable || got.Message() != want {
			t.Errorf("got %v, want UNAVAILABLE, %q", got, want)
		}
	}
}

// Any middleware can refuse a call. An answer has a bound, and an error without a meaning for the
// client is INTERNAL. The first middleware is the outermost.
func TestAnyMiddleware(t *testing.T) {
	t.Parallel()
	var ran []string
	note := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ran = append(ran, "outer")
			next.ServeHTTP(w, r)
		})
	}
	for httpStatus, want := range map[int]codes.Code{
		http.StatusUnauthorized: codes.Unauthenticated, http.StatusForbidden: codes.PermissionDenied,
		http.StatusTeapot: codes.Internal, http.StatusOK: codes.Internal, 0: codes.Internal,
	} {
		answers := func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				ran = append(ran, "inner")
				if httpStatus != 0 {
					w.WriteHeader(http.StatusEarlyHints)
					w.WriteHeader(httpStatus)
					w.WriteHeader(http.StatusBadRequest)
					for range 100 {
						if n, err := w.Write(make([]byte, 1000)); n != 1000 || err != nil {
							t.Errorf("wrote %d, %v", n, err)
						}
					}
				}
			})
		}
		for kind, call := range calls {
			ran = nil
			c := serve(t, func(context.Context) error { t.Error("the handler ran"); return nil }, note, answers)
			if err := call(t.Context(), c); status.Code(err) != want || !slices.Equal(ran, []string{"outer", "inner"}) {
				t.Errorf("%s, %d: %v, ran %q", kind, httpStatus, err, ran)
			}
		}
	}
}

// A limit can charge failed calls alone: ratelimit.ResponseCost sees them as status 500.
func TestResponseCost(t *testing.T) {
	t.Parallel()
	l, err := ratelimit.New(open(t, rig.Embedded(t).URL(), "app"), "l", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(9)}})
	if err != nil {
		t.Fatal(err)
	}
	statuses := make(chan int, 2)
	cost := ratelimit.ResponseCost(func(_ *http.Request, status int, _ int64) int64 { statuses <- status; return 0 })
	var result error
	c := serve(t, func(context.Context) error { return result }, l.Middleware(ratelimit.ClientAddress(), cost))
	for want, err := range map[int]error{200: nil, 500: status.Error(codes.NotFound, "no such order")} {
		result = err
		if err := calls["unary"](t.Context(), c); status.Code(err) != status.Code(result) {
			t.Errorf("%v, want %v", err, result)
		}
		if got := <-statuses; got != want {
			t.Errorf("ResponseCost got %d, want %d", got, want)
		}
	}
}

// A call whose context ends has the code of that end, and not UNAVAILABLE.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Embedded(t).URL(), "app")
	l, err := ratelimit.New(client, "l", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(9)}})
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for want, ctx := range map[codes.Code]context.Context{codes.Canceled: canceled, codes.DeadlineExceeded: late} {
		unary := redstartgrpc.Unary(l.Middleware(ratelimit.By(func(*http.Request) string { return "ada" })))
		_, err := unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/t/T"}, func(context.Context, any) (any, error) {
			t.Error("the handler ran")
			return nil, nil
		})
		if status.Code(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
	}
}
