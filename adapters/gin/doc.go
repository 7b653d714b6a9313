// Package redstartgin runs the HTTP middlewares of Redstart in gin.
//
// # Quick start
//
//	router := gin.New()
//	router.Use(redstartgin.Use(sessions.Middleware))
//	router.Use(redstartgin.Use(limiter.Middleware(ratelimit.ClientAddress())))
//	router.POST("/orders", redstartgin.Use(executor.Middleware), createOrder)
//
// A handler gets its session with sessions.FromContext(c.Request.Context()).
//
// # Limits
//
// Pass c.Request.Context() to Redstart. A *gin.Context is a context of the request only with
// Engine.ContextWithFallback. Responses of gin.Context methods that start goroutines must end
// before the handler returns.
package redstartgin
