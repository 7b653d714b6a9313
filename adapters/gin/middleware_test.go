package redstartgin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/gin-gonic/gin"

	redstartgin "github.com/redstart-go/redstart/adapters/gin"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/httpsuite"
)

func TestMain(m *testing.M) { rig.Main(m) }

// The middlewares do the same in gin as in net/http.
func TestMiddlewares(t *testing.T) {
	t.Parallel()
	httpsuite.Run(t, build)
}

// build returns a router of gin.
func build(routes []httpsuite.Route) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(gin.RecoveryWithWriter(io.Discard))
	for _, route := range routes {
		router.Handle(route.Method, route.Path, redstartgin.Use(route.Middleware), func(c *gin.Context) {
			body, err := c.GetRawData()
			if err != nil {
				_ = c.AbortWithError(http.StatusBadRequest, err)
				return
			}
			reply := route.Handle(c.Request.Context(), string(body))
			switch {
			case reply.Fails:
				c.AbortWithStatusJSON(reply.Status, gin.H{"error": reply.Body})
			case reply.Body == "":
				c.Status(reply.Status)
			default:
				c.String(reply.Status, "%s", reply.Body)
			}
		})
	}
	return router
}

// The writer of a handler behaves like the writer of gin: nothing is sent before the first byte,
// the size counts bytes, and a refused request ends the chain.
func TestWriter(t *testing.T) {
	t.Parallel()
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	same := func(next http.Handler) http.Handler { return next }
	refuse := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	}
	var after []int
	router.Use(func(c *gin.Context) {
		c.Next()
		after = append(after, c.Writer.Status(), c.Writer.Size())
	})
	router.GET("/", redstartgin.Use(same), func(c *gin.Context) {
		c.Status(http.StatusAccepted)
		c.Writer.Header().Set("X-After-Status", "1")
		if c.Writer.Written() || c.Writer.Size() != -1 || c.Writer.Status() != http.StatusAccepted {
			t.Errorf("before the first byte: %v %d %d", c.Writer.Written(), c.Writer.Size(), c.Writer.Status())
		}
		_, _ = c.Writer.WriteString("four")
		c.Writer.Flush()
		if !c.Writer.Written() || c.Writer.Size() != 4 {
			t.Errorf("after four bytes: %v %d", c.Writer.Written(), c.Writer.Size())
		}
	})
	router.GET("/refused", redstartgin.Use(refuse), func(*gin.Context) { t.Error("the handler ran") })
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusAccepted || w.Body.String() != "four" || w.Header().Get("X-After-Status") != "1" || !w.Flushed {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", "/refused", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("refused: %d", w.Code)
	}
	if want := []int{http.StatusAccepted, 4, http.StatusForbidden, -1}; !slices.Equal(after, want) {
		t.Errorf("an outer middleware sees %v, want %v", after, want)
	}
}
