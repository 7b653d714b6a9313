package redstartconnect_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
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
func serve(t testing.TB, handle func(ctx context.Context) error, middlewares ...func(http.Handler) http.Handler) map[string]call {
	t.Helper()
	with := connect.WithInterceptors(redstartconnect.Interceptor(middlewares...))
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
		c := serve(t, handle, l.Middleware(ratelimit.Header("X-Key")))[kind]
		ada := map[string]string{"X-Key": "ada"}
		for range 2 {
			if trailer, err := c(ada); err != nil || trailer.Get("RateLimit") == "" || trailer.Get("RateLimit-Policy") == "" {
				t.Fatalf("%v, trailer %v", err, trailer)
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
		_, err = serve(t, handle, none.Middleware(ratelimit.ClientAddress()))[kind](nil)
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
		c := serve(t, wait, limit.Middleware(ratelimit.ClientAddress()))[kind]
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
	m, err := session.New[struct{}](open(t, rig.Embedded(t).URL(), "app"), "web", session.Options{Bearer: true})
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
		}, m.Middleware)[kind]
		for token, want := range map[string]string{
			"Bearer " + ada.Token(): "ada", "bearer " + ada.Token(): "ada", "Bearer x": "", ada.Token(): "",
		} {
			trailer, err := c(map[string]string{"Authorization": token})
			if err != nil || user != want || trailer.Get(session.TokenHeader) != "" {
				t.Errorf("%s, %.10s: the user is %q, want %q; %v, %v", kind, token, user, want, trailer, err)
			}
		}
		login = true
		shared := connect.NewError(connect.CodeNotFound, errors.New("no such order"))
		for _, result = range []error{nil, shared, errors.New("plain"), context.DeadlineExceeded} {
			trailer, err := c(map[string]string{"Authorization": "Bearer"})
			if (err == nil) != (result == nil) {
				t.Errorf("%s: %v, want %v", kind, err, result)
			}
			if result == context.DeadlineExceeded && connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("%s: the code of %v is %v", kind, result, connect.CodeOf(err))
			}
			if s, err := m.Load(t.Context(), trailer.Get(session.TokenHeader)); err != nil || s.User() != "bob" {
				t.Errorf("%s with %v: the new token: %v, %v", kind, result, s, err)
			}
		}
		if len(shared.Meta()) != 0 { // handlers return it to other clients too
			t.Errorf("%s: the error of the handler has got %v", kind, shared.Meta())
		}
	}
}

// While Redis is down, calls that need it are unavailable, and no details reach the client.
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
		"unavailable: Service Unavailable":                                   m.Middleware,
		"unavailable: The request limit cannot be checked at the moment":     l.Middleware(ratelimit.ClientAddress()),
		"unavailable: The concurrency limit cannot be checked at the moment": limit.Middleware(ratelimit.ClientAddress()),
	} {
		c := serve(t, func(context.Context) error { t.Error("the handler ran"); return nil }, middleware)["unary"]
		if _, err := c(map[string]string{"Authorization": "Bearer " + s.Token()}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Any middleware can refuse a call. An answer has a bound, and an answer without a meaning for the
// client is CodeInternal. The first middleware is the outermost.
func TestAnyMiddleware(t *testing.T) {
	t.Parallel()
	var ran []string
	note := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ran = append(ran, "outer "+r.Pattern)
			next.ServeHTTP(w, r)
		})
	}
	for status, want := range map[int]connect.Code{
		http.StatusUnauthorized: connect.CodeUnauthenticated, http.StatusForbidden: connect.CodePermissionDenied,
		http.StatusTeapot: connect.CodeInternal, http.StatusOK: connect.CodeInternal, 0: connect.CodeInternal,
	} {
		answers := func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				ran = append(ran, "inner")
				if status != 0 {
					w.WriteHeader(http.StatusEarlyHints)
					w.WriteHeader(status)
					w.WriteHeader(http.StatusBadRequest)
					for range 100 {
						if n, err := w.Write(make([]byte, 1000)); n != 1000 || err != nil {
							t.Errorf("wrote %d, %v", n, err)
						}
					}
				}
			})
		}
		for kind, path := range map[string]string{"unary": "/t.T/Unary", "stream": "/t.T/Stream"} {
			ran = nil
			c := serve(t, func(context.Context) error { t.Error("the handler ran"); return nil }, note, answers)[kind]
			if _, err := c(nil); connect.CodeOf(err) != want || !slices.Equal(ran, []string{"outer " + path, "inner"}) {
				t.Errorf("%s, %d: %v, ran %q", kind, status, err, ran)
			}
		}
	}
}

// In a client, the interceptor does nothing, even with a middleware that refuses each call.
func TestInterceptorDoesNothingInAClient(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.Handle("/t.T/Unary", connect.NewUnaryHandler("/t.T/Unary",
		func(context.Context, *connect.Request[empty]) (*connect.Response[empty], error) {
			return connect.NewResponse(&empty{}), nil
		}))
	mux.Handle("/t.T/Stream", connect.NewServerStreamHandler("/t.T/Stream",
		func(context.Context, *connect.Request[empty], *connect.ServerStream[empty]) error { return nil }))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)

	refuse := connect.WithInterceptors(redstartconnect.Interceptor(
		func(http.Handler) http.Handler { return http.NotFoundHandler() }))
	unary := connect.NewClient[empty, empty](server.Client(), server.URL+"/t.T/Unary", refuse)
	if _, err := unary.CallUnary(t.Context(), connect.NewRequest(&empty{})); err != nil {
		t.Error(err)
	}
	stream, err := connect.NewClient[empty, empty](server.Client(), server.URL+"/t.T/Stream", refuse).
		CallServerStream(t.Context(), connect.NewRequest(&empty{}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for stream.Receive() {
		t.Error("a message")
	}
	if err := stream.Err(); err != nil {
		t.Error(err)
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
	c := serve(t, func(context.Context) error { return result }, l.Middleware(ratelimit.ClientAddress(), cost))["unary"]
	for want, err := range map[int]error{200: nil, 500: errors.New("no such order")} {
		result = err
		if _, err := c(nil); (err == nil) != (result == nil) {
			t.Errorf("%v, want %v", err, result)
		}
		if got := <-statuses; got != want {
			t.Errorf("ResponseCost got %d, want %d", got, want)
		}
	}
}

// A call whose context ends before it begins has the code of that end, and not CodeUnavailable.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	l, err := ratelimit.New(open(t, rig.Embedded(t).URL(), "app"), "l", ratelimit.Options{Rules: []ratelimit.Rule{ratelimit.PerHour(9)}})
	if err != nil {
		t.Fatal(err)
	}
	for want, end := range map[connect.Code]func(context.Context) (context.Context, context.CancelFunc){
		connect.CodeCanceled: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		},
		connect.CodeDeadlineExceeded: func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Second))
		},
	} {
		late := connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				ctx, cancel := end(ctx)
				defer cancel()
				return next(ctx, req)
			}
		})
		limits := redstartconnect.Interceptor(l.Middleware(ratelimit.ClientAddress()))
		mux := http.NewServeMux()
		mux.Handle("/t.T/Unary", connect.NewUnaryHandler("/t.T/Unary",
			func(context.Context, *connect.Request[empty]) (*connect.Response[empty], error) {
				t.Error("the handler ran")
				return connect.NewResponse(&empty{}), nil
			}, connect.WithInterceptors(late, limits)))
		server := httptest.NewServer(mux)
		client := connect.NewClient[empty, empty](server.Client(), server.URL+"/t.T/Unary")
		if _, err := client.CallUnary(t.Context(), connect.NewRequest(&empty{})); connect.CodeOf(err) != want {
			t.Errorf("%v, want %v", err, want)
		}
		server.Close()
	}
}
