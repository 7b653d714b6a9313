package session_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/session"
)

// BenchmarkUntouchedByCallers is BenchmarkUntouched with several concurrent callers, through both
// middlewares.
func BenchmarkUntouchedByCallers(b *testing.B) {
	server := rig.Standalone(b)
	m, ourCookies := ours(b, server, session.Options{})
	redstarts := m.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s := m.FromContext(r.Context())
		if data, err := s.Data(r.Context()); err != nil || s.User() == "" || data.Theme != "dark" {
			b.Errorf("%q, %+v, %v", s.User(), data, err)
		}
	}))
	manager, theirCookies := theirs(b, rival(b, server), time.Hour)
	rivals := manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if manager.GetString(r.Context(), "user") == "" || manager.GetString(r.Context(), "theme") != "dark" {
			b.Error("another session")
		}
	}))
	for _, callers := range []int{1, 4, 16, 128} {
		b.Run(fmt.Sprint("callers=", callers, "/redstart"), func(b *testing.B) { runWith(b, callers, redstarts, ourCookies) })
		b.Run(fmt.Sprint("callers=", callers, "/scs idle timeout"),
			func(b *testing.B) { runWith(b, callers, rivals, theirCookies) })
	}
}

// runWith sends b.N requests from n goroutines.
func runWith(b *testing.B, callers int, handler http.Handler, cookies []string) {
	b.ReportAllocs()
	var wg sync.WaitGroup
	for c := range callers {
		share := b.N / callers
		if c < b.N%callers {
			share++
		}
		requests := make([]*http.Request, 16)
		for i := range requests {
			requests[i] = httptest.NewRequest("GET", "/", nil).WithContext(b.Context())
			requests[i].Header.Set("Cookie", cookies[(c*len(requests)+i)%len(cookies)])
		}
		wg.Go(func() {
			w := &discard{header: http.Header{}}
			for i := range share {
				clear(w.header)
				handler.ServeHTTP(w, requests[i%len(requests)])
			}
		})
	}
	wg.Wait()
}
