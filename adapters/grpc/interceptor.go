package redstartgrpc

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/redstart-go/redstart/session"
)

// Unary returns an interceptor that runs middlewares of net/http around each call: of a session
// manager, a limiter or a concurrency limit. The first one is the outermost.
func Unary(middlewares ...func(http.Handler) http.Handler) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (reply any, err error) {
		err = run(middlewares, request(ctx, info.FullMethod), func(ctx context.Context) (err error) {
			reply, err = handler(ctx, req)
			return err
		})
		return reply, err
	}
}

// Stream returns an interceptor that runs middlewares of net/http around each stream.
func Stream(middlewares ...func(http.Handler) http.Handler) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return run(middlewares, request(stream.Context(), info.FullMethod), func(ctx context.Context) error {
			return handler(srv, &withContext{stream, ctx})
		})
	}
}

// withContext is a stream with the context of the middlewares.
type withContext struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context of the middlewares.
func (w *withContext) Context() context.Context { return w.ctx }

// request describes a call. The method, such as "/shop.Orders/Create", is the pattern of the route.
func request(ctx context.Context, method string) *http.Request {
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: method}, Pattern: method, Header: http.Header{}, Body: http.NoBody}
	md, _ := metadata.FromIncomingContext(ctx)
	for name, values := range md {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	if p, ok := peer.FromContext(ctx); ok {
		r.RemoteAddr = p.Addr.String()
		ctx = context.WithValue(ctx, http.LocalAddrContextKey, p.LocalAddr) // shows a unix socket
	}
	return r.WithContext(ctx)
}

// run runs a call inside of the middlewares.
func run(middlewares []func(http.Handler) http.Handler, r *http.Request, handle func(context.Context) error) (err error) {
	passed := false
	var chain http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed = true
		if err = handle(r.Context()); err != nil {
			w.WriteHeader(http.StatusInternalServerError) // for ratelimit.ResponseCost
		}
	})
	for _, middleware := range slices.Backward(middlewares) {
		chain = middleware(chain)
	}

	a := &answer{header: http.Header{}}
	chain.ServeHTTP(a, r)
	trailer := metadata.MD{}
	for _, name := range []string{"RateLimit", "RateLimit-Policy", session.TokenHeader, session.RememberTokenHeader} {
		trailer.Append(name, a.header.Values(name)...)
	}
	_ = grpc.SetTrailer(r.Context(), trailer) // an error means that the call has ended
	if !passed {
		return a.refusal(r.Context())
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

// codeOf has the codes of answers. Others are INTERNAL.
var codeOf = map[int]codes.Code{
	http.StatusBadRequest: codes.InvalidArgument, http.StatusUnauthorized: codes.Unauthenticated,
	http.StatusForbidden: codes.PermissionDenied, http.StatusTooManyRequests: codes.ResourceExhausted,
	http.StatusServiceUnavailable: codes.Unavailable,
}

// refusal returns the status of a call that a middleware has answered.
func (a *answer) refusal(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	var problem struct {
		Title    string
		Violated []string `json:"violated-policies"`
	}
	_ = json.Unmarshal(a.body, &problem) // not each middleware sends a problem document

	var details []protoadapt.MessageV1
	for _, rule := range problem.Violated {
		details = append(details, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{Subject: rule}}})
	}
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(seconds) * time.Second)})
	}
	s := status.New(cmp.Or(codeOf[a.status], codes.Internal), cmp.Or(problem.Title, http.StatusText(a.status)))
	if detailed, err := s.WithDetails(details...); err == nil { // details can always be encoded
		s = detailed
	}
	return s.Err()
}
