package redstartconnect

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redstart-go/redstart/session"
)

// Interceptor returns an interceptor that runs middlewares of net/http around each call and stream
// of a handler: of a session manager, a limiter or a concurrency limit. The first one is the
// outermost. It does nothing in a client.
func Interceptor(middlewares ...func(http.Handler) http.Handler) connect.Interceptor {
	return interceptor(middlewares)
}

type interceptor []func(http.Handler) http.Handler

// WrapUnary implements connect.Interceptor.
func (i interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (reply connect.AnyResponse, err error) {
		if req.Spec().IsClient {
			return next(ctx, req)
		}
		info, ok := connect.CallInfoForHandlerContext(ctx)
		if !ok { // cannot happen: connect describes the calls of a handler
			return nil, connect.NewError(connect.CodeInternal, errors.New("the call cannot be checked"))
		}
		err = i.run(ctx, info, func(ctx context.Context) (err error) {
			reply, err = next(ctx, req)
			return err
		})
		return reply, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (i interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return i.run(ctx, conn, func(ctx context.Context) error { return next(ctx, conn) })
	}
}

// info describes a call: a connect.CallInfo or a connect.StreamingHandlerConn.
type info interface {
	Spec() connect.Spec
	Peer() connect.Peer
	RequestHeader() http.Header
	ResponseTrailer() http.Header
}

// run runs a call inside of the middlewares. The procedure is the pattern of the route.
func (i interceptor) run(ctx context.Context, call info, handle func(context.Context) error) (err error) {
	procedure := call.Spec().Procedure
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: procedure}, Pattern: procedure,
		Header: call.RequestHeader(), Body: http.NoBody, RemoteAddr: call.Peer().Addr}
	passed := false
	var chain http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed = true
		if err = handle(r.Context()); err != nil {
			w.WriteHeader(http.StatusInternalServerError) // for ratelimit.ResponseCost
		}
	})
	for _, middleware := range slices.Backward(i) {
		chain = middleware(chain)
	}

	a := &answer{header: http.Header{}}
	chain.ServeHTTP(a, r.WithContext(ctx))
	for _, name := range []string{"RateLimit", "RateLimit-Policy", session.TokenHeader, session.RememberTokenHeader} {
		for _, value := range a.header.Values(name) {
			call.ResponseTrailer().Add(name, value)
		}
	}
	if !passed {
		return a.refusal(ctx)
	}
	return err
}

// answer is what middlewares answer. It has the first maxBody bytes of a body.
type answer struct {
	header http.Header
	status int
	body   []byte
}

const maxBody = 4 << 10

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 && status >= http.StatusOK {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b[:min(len(b), maxBody-len(a.body))]...)
	return len(b), nil
}

// codeOf has the codes of answers. Others are CodeInternal.
var codeOf = map[int]connect.Code{
	http.StatusBadRequest: connect.CodeInvalidArgument, http.StatusUnauthorized: connect.CodeUnauthenticated,
	http.StatusForbidden: connect.CodePermissionDenied, http.StatusTooManyRequests: connect.CodeResourceExhausted,
	http.StatusServiceUnavailable: connect.CodeUnavailable,
}

// refusal returns the error of a call that a middleware has answered.
func (a *answer) refusal(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // connect knows its code
	}
	var problem struct{ Title string }
	_ = json.Unmarshal(a.body, &problem) // not each middleware sends a problem document
	refused := connect.NewError(cmp.Or(codeOf[a.status], connect.CodeInternal),
		errors.New(cmp.Or(problem.Title, http.StatusText(a.status))))
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil {
		delay := durationpb.New(time.Duration(seconds) * time.Second)
		if detail, err := connect.NewErrorDetail(&errdetails.RetryInfo{RetryDelay: delay}); err == nil { // always
			refused.AddDetail(detail)
		}
	}
	return refused
}
