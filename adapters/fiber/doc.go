// Package redstartfiber runs the HTTP middlewares of Redstart in fiber v3.
//
// # Quick start
//
//	app := fiber.New()
//	app.Use(redstartfiber.Use(sessions.Middleware))
//	app.Use(redstartfiber.Use(limiter.Middleware(ratelimit.ClientAddress())))
//	app.Post("/orders", redstartfiber.Use(executor.Middleware), createOrder)
//
// A handler gets its session with sessions.FromContext(c.Context()).
//
// # Limits
//
// Each middleware converts the request, and copies the response once. A stream is not copied; it
// runs after the middleware, so a permit does not cover it. Pass c.Context() to Redstart, not c.
//
// # Storage
//
// [Storage] stores the data of the middlewares of fiber, such as its cache and its CSRF tokens.
package redstartfiber
