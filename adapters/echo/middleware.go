package redstartecho

import (
	"net/http"

	"github.com/labstack/echo/v5"
)

// Use returns a middleware of net/http as a middleware of echo: of a session manager, a limiter, a
// concurrency limit or an idempotency executor. The pattern of the route is in Request.Pattern, so
// that ratelimit.Route(nil) returns it.
//
// The difference to echo.WrapMiddleware: if a handler returns an error, the error handler of echo
// answers it before the middleware ends. So the middleware sees the response: an executor stores
// it, and the cookie of a session is in it. The error is returned to the outer middlewares all the
// same.
func Use(middleware func(http.Handler) http.Handler) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c *echo.Context) (err error) {
			outer, request := c.Response(), c.Request()
			defer func() {
				c.SetResponse(outer)
				c.SetRequest(request)
			}()

			r := request.WithContext(request.Context()) // a copy: the pattern is of this router
			if path := c.Path(); path != "" {
				r.Pattern = r.Method + " " + path
			}
			middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c.SetRequest(r)
				c.SetResponse(echo.NewResponse(w, c.Echo().Logger))
				if err = next(c); err != nil {
					c.Echo().HTTPErrorHandler(c, err) // it ignores a response that has been sent
				}
			})).ServeHTTP(outer, r)
			return err
		}
	}
}
