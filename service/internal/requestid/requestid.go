// Package requestid gives each request an id, which its answer and every line that is logged about it carry.
package requestid

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
)

// Header carries the id, in requests and in answers.
const Header = "X-Request-Id"

const maxLength = 64

type key struct{}

// From returns the id of the request that ctx belongs to, "" for none.
func From(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Middleware keeps the id that a request comes with, so that one id leads through a proxy's log and ours, if it is fit for a
// log; else it makes one.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(Header)
		if !fit(id) {
			id = rand.Text()
		}
		w.Header().Set(Header, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, id)))
	})
}

// fit reports that an id is short and of letters, digits, - _ and . alone.
func fit(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxLength
}

// Handler adds the request's id to what is logged with the context of a request.
func Handler(to slog.Handler) slog.Handler { return handler{to} }

type handler struct{ slog.Handler }

func (h handler) Handle(ctx context.Context, line slog.Record) error {
	if id := From(ctx); id != "" {
		line = line.Clone() // its attributes may be shared
		line.AddAttrs(slog.String("request", id))
	}
	return h.Handler.Handle(ctx, line)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs)}
}

func (h handler) WithGroup(name string) slog.Handler { return handler{h.Handler.WithGroup(name)} }
