// Package redstartecho runs the HTTP middlewares of Redstart in echo v5.
//
// # Quick start
//
//	e := echo.New()
//	e.Use(redstartecho.Use(sessions.Middleware))
//	e.Use(redstartecho.Use(limiter.Middleware(ratelimit.ClientAddress())))
//	e.POST("/orders", createOrder, redstartecho.Use(executor.Middleware))
//
// A handler gets its session with sessions.FromContext(c.Request().Context()).
//
// # Limits
//
// An HTTPErrorHandler of your own must ignore a response that has been sent, as the one of echo
// does: it is called again for the same error.
package redstartecho
