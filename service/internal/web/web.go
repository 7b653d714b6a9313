// Package web serves the shop over HTTP: a JSON API and one page.
package web

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/redstart-go/redstart/ratelimit"
	"github.com/redstart-go/redstart/service/internal/demo"
	"github.com/redstart-go/redstart/service/internal/metrics"
	"github.com/redstart-go/redstart/service/internal/requestid"
	"github.com/redstart-go/redstart/service/internal/shop"
)

// Options say what the handler serves. Metrics, Proxies, Demo and Ending may be missing.
type Options struct {
	Shop   *shop.Shop
	Ready  func(context.Context) error // whether everything that the shop stands on answers
	Log    *slog.Logger
	Engine string // what the page says about the server behind the caches
	// NearUsers is the number of users that a demo's near cache holds: the page says so. 0: the page says nothing.
	NearUsers int
	// DatabaseLatency is what a demo adds to each statement: the page says so.
	DatabaseLatency time.Duration
	// Metrics count requests. They are served elsewhere: what they say is for operators.
	Metrics *metrics.Metrics
	// Proxies may say in X-Forwarded-For where a request came from.
	Proxies []netip.Prefix
	Demo    *demo.Demo // live figures and controls on the page; nil for none
	// Ending ends the streams, so that a shutdown need not wait for them.
	Ending context.Context
}

type server struct {
	Options
	client ratelimit.KeyFunc // the client's address
}

//go:embed assets
var assets embed.FS

// New returns the shop's handler.
func New(opts Options) http.Handler {
	s := &server{opts, ratelimit.ClientAddress(opts.Proxies...)}
	mux := http.NewServeMux()

	mux.Handle("GET /{$}", s.handle(s.page))
	mux.Handle("GET /assets/{file}", http.FileServerFS(assets))

	mux.Handle("GET /livez", s.handle(s.live))
	mux.Handle("GET /readyz", s.handle(s.ready))

	mux.Handle("POST /api/signup", s.handle(s.signUp))
	mux.Handle("POST /api/login", s.handle(s.logIn))
	mux.Handle("POST /api/logout", s.handle(s.logOut))
	mux.Handle("GET /api/me", s.handle(s.me))
	mux.Handle("GET /api/devices", s.handle(s.devices))
	mux.Handle("DELETE /api/devices", s.handle(s.revokeOthers))
	mux.Handle("DELETE /api/devices/{id}", s.handle(s.revokeDevice))

	mux.Handle("POST /api/orders", s.handle(s.createOrder))
	mux.Handle("GET /api/orders", s.handle(s.listOrders))
	mux.Handle("GET /api/orders/{id}", s.handle(s.getOrder))
	mux.Handle("POST /api/orders/{id}/process", s.handle(s.processOrder))
	mux.Handle("GET /api/notifications", s.handle(s.listNotifications))
	mux.HandleFunc("GET /api/notifications/stream", s.streamNotifications) // as long as it lasts
	mux.Handle("GET /api/stats", s.handle(s.getStats))

	mux.Handle("GET /api/users", s.handle(s.findUser))
	mux.Handle("GET /api/users/{id}", s.handle(s.getUser))
	mux.Handle("PATCH /api/users/{id}", s.handle(s.patchUser))
	mux.Handle("DELETE /api/users/{id}", s.handle(s.deleteUser))
	mux.Handle("GET /api/users/{id}/spending", s.handle(s.getSpending))

	s.addDemo(mux)

	return requestid.Middleware(s.measured(s.watched(mux, s.recovered(secured(s.thisMachine(s.sameOrigin(opts.Shop.Sessions.Middleware(s.limited(problemsFor(mux))))))))))
}
