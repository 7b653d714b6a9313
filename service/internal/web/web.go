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

// Options configure the handler. Metrics, Proxies, Demo and Ending are optional.
type Options struct {
	Shop   *shop.Shop
	Ready  func(context.Context) error // returns an error if a dependency does not answer
	Log    *slog.Logger
	Engine string // the text of the page about Redis
	// NearUsers is the number of users in the near cache of a demo, for the text of the page. 0
	// hides the text.
	NearUsers int
	// DatabaseLatency is the time that a demo adds to each statement, for the text of the page.
	DatabaseLatency time.Duration
	// Metrics count requests. Another handler serves them, because they are for operators.
	Metrics *metrics.Metrics
	// Proxies are trusted to set X-Forwarded-For.
	Proxies []netip.Prefix
	Demo    *demo.Demo // the live charts and controls of the page; nil for none
	// Console serves /console/ to requests of this machine. Nil for none.
	Console http.Handler
	// Ending ends the streams, so that a shutdown does not wait for them.
	Ending context.Context
}

type server struct {
	Options
	client ratelimit.KeyFunc // the address of the client
}

//go:embed assets
var assets embed.FS

// New returns the handler of the shop.
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

	mux.Handle("POST /api/orders", s.once(s.handle(s.createOrder)))
	mux.Handle("GET /api/orders", s.handle(s.listOrders))
	mux.Handle("GET /api/orders/{id}", s.handle(s.getOrder))
	mux.Handle("POST /api/orders/{id}/process", s.handle(s.processOrder))
	mux.Handle("GET /api/notifications", s.handle(s.listNotifications))
	mux.HandleFunc("GET /api/notifications/stream", s.streamNotifications) // without a time limit
	mux.Handle("GET /api/stats", s.handle(s.getStats))

	mux.Handle("GET /api/users", s.handle(s.findUser))
	mux.Handle("GET /api/users/{id}", s.handle(s.getUser))
	mux.Handle("PATCH /api/users/{id}", s.handle(s.patchUser))
	mux.Handle("DELETE /api/users/{id}", s.handle(s.deleteUser))
	mux.Handle("GET /api/users/{id}/spending", s.handle(s.getSpending))

	s.addDemo(mux)

	// From the inside out: each middleware wraps the handler before it.
	handler := s.limited(problemsFor(mux))
	handler = s.sameOrigin(opts.Shop.Sessions.Middleware(handler))
	handler = s.recovered(secured(s.thisMachine(handler)))
	handler = s.withConsole(s.measured(s.watched(mux, handler)))
	return requestid.Middleware(handler)
}
