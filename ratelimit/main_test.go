package ratelimit_test

import (
	"net/http"
	"testing"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/internal/rig/rigclient"
	"github.com/redstart-go/redstart/ratelimit"
)

func TestMain(m *testing.M) {
	rig.RegisterRole("hammer", hammer)
	rig.Main(m)
}

var open = rigclient.Open

// shared returns a client of the shared standalone server, with its own namespace.
func shared(t testing.TB) *redstart.Client {
	t.Helper()
	return open(t, rig.Shared(t).URL(), rig.Prefix(t))
}

func limiter(t testing.TB, client *redstart.Client, opts ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	l, err := ratelimit.New(client, "api", opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func allow(t testing.TB, l *ratelimit.Limiter, key string, n int64) ratelimit.Result {
	t.Helper()
	result, err := l.AllowN(t.Context(), key, n)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
