package session_test

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/internal/rig"
	"github.com/redstart-go/redstart/observe"
	"github.com/redstart-go/redstart/session"
)

func TestNewNamesTheBadField(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	for field, opts := range map[string]session.Options{
		"IdleTimeout is":       {IdleTimeout: -2},
		"or NoIdleTimeout":     {IdleTimeout: -2},
		"or NoGrace":           {RenewGrace: -2},
		"Lifetime is":          {Lifetime: time.Nanosecond},
		"is NoIdleTimeout":     {IdleTimeout: session.NoIdleTimeout, Lifetime: session.NoLifetime},
		"MaxPerUser":           {MaxPerUser: -1},
		"RememberFor":          {RememberFor: -1},
		"RenewGrace":           {RenewGrace: time.Hour},
		"ReplicaWait":          {ReplicaWait: -time.Second},
		"MinReplicas":          {MinReplicas: -1},
		"MaxSize":              {MaxSize: math.MaxInt},
		"EncryptionKeys[1]":    {EncryptionKeys: [][]byte{key("a"), []byte("short")}},
		"AllowPlaintext":       {AllowPlaintext: true},
		"UserKey":              {UserKey: []byte("short")},
		"Outage":               {Outage: 9},
		"BeyondMax":            {BeyondMax: 9},
		"Partitioned is set":   {Cookie: session.CookieOptions{Partitioned: true, Insecure: true}},
		"Insecure":             {Cookie: session.CookieOptions{Name: "__Host-x", Insecure: true}},
		"with a Domain":        {Cookie: session.CookieOptions{Name: "__host-x", Domain: "example.org"}},
		"SameSite is None":     {Cookie: session.CookieOptions{Insecure: true, SameSite: http.SameSiteNoneMode}},
		"SameSite is 9":        {Cookie: session.CookieOptions{SameSite: 9}},
		"Cookie (":             {Cookie: session.CookieOptions{Name: "a b"}},
		"Cookie.Name has 257":  {Cookie: session.CookieOptions{Name: strings.Repeat("x", 257)}},
		"RememberName is":      {Cookie: session.CookieOptions{Name: "x", RememberName: "x"}},
		"RememberName is \"__": {Cookie: session.CookieOptions{Name: "x", RememberName: "__Secure-x", Insecure: true}},
	} {
		_, err := session.New[cart](client, "web", opts)
		if err == nil || !strings.HasPrefix(err.Error(), "session: Options.") || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := session.New[cart](nil, "web", session.Options{}); err == nil {
		t.Error("no client")
	}
	m := manager(t, client, session.Options{})
	for _, opt := range []session.CreateOption{session.Lifetime(-5), session.IdleTimeout(0)} {
		if _, err := m.Create(t.Context(), "ada", cart{}, opt); err == nil {
			t.Error("a bad CreateOption")
		}
	}
	must[*sess](t)(m.Create(t.Context(), "ada", cart{}, session.CreateOption{}))
	if _, err := m.Create(t.Context(), "ada", cart{}, session.Lifetime(session.NoLifetime),
		session.IdleTimeout(session.NoIdleTimeout)); err == nil {
		t.Error("a session without a limit was created")
	}
}

// Without the middleware, FromContext is not nil, and every method names the missing middleware.
func TestOutsideTheMiddleware(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{})
	ctx := t.Context()
	s := m.FromContext(ctx)
	if s.ID() != "" || s.Token() != "" || s.User() != "" || s.RememberToken() != "" || s.Degraded() {
		t.Error("a session without Middleware has a user")
	}
	_, dataErr := s.Data(ctx)
	_, flashErr := s.Flashes(ctx)
	_, othersErr := s.RevokeOthers(ctx)
	_, _, watchErr := s.Watch(ctx)
	for i, err := range []error{dataErr, flashErr, othersErr, watchErr,
		s.Update(ctx, func(*cart) error { return nil }), s.Flash(ctx, "", ""), s.Login(ctx, "ada"),
		s.Renew(ctx), s.Destroy(ctx)} {
		if !errors.Is(err, session.ErrNoMiddleware) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// MaxSize limits everything that can grow. A larger value is not stored.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	m := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{MaxSize: 1000})
	ctx := t.Context()
	big := strings.Repeat("x", 1000)
	if _, err := m.Create(ctx, "ada", cart{Note: big}); !errors.Is(err, redstart.ErrTooLarge) {
		t.Errorf("create: %v", err)
	}
	s := must[*sess](t)(m.Create(ctx, "ada", cart{Note: "small"}))
	for name, err := range map[string]error{
		"update": s.Update(ctx, func(c *cart) error { c.Note = big; return nil }),
		"flash":  s.Flash(ctx, "", big),
	} {
		if !errors.Is(err, redstart.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, s.Update(ctx, func(c *cart) error { c.N = 1; return nil })) // the Session still works
	tight := manager(t, open(t, rig.Shared(t).URL(), rig.Prefix(t)), session.Options{MaxSize: 64 << 10})
	s = must[*sess](t)(tight.Create(ctx, "ada", cart{}))
	for range 40 {
		ok(t, s.Flash(ctx, "k", "t"))
	}
	if n := len(must[[]session.Message](t)(s.Flashes(ctx))); n != 32 {
		t.Errorf("%d messages are stored", n)
	}
}

// T has changed its type. Data returns an error of its own, counts it, and does not panic.
func TestDataOfAnotherType(t *testing.T) {
	t.Parallel()
	url, namespace := rig.Shared(t).URL(), rig.Prefix(t)
	m := manager(t, open(t, url, namespace), session.Options{})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{Note: "x"}))
	other, err := session.New[[]int](open(t, url, namespace), "web", session.Options{})
	ok(t, err)
	as, err := other.Load(t.Context(), s.Token())
	ok(t, err)
	for range 2 {
		if _, err := as.Data(t.Context()); !errors.Is(err, session.ErrUnreadable) || !errors.Is(err, redstart.ErrCorrupt) {
			t.Errorf("data: %v", err)
		}
	}
	if n := other.Stats().Unreadable; n != 1 {
		t.Errorf("%d unreadable", n)
	}
	if as.User() != "ada" {
		t.Error("the name of the user was read")
	}
	ok(t, as.Destroy(t.Context()))
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	client := open(t, rig.Shared(t).URL(), rig.Prefix(t))
	m := manager(t, client, session.Options{})
	s := must[*sess](t)(m.Create(t.Context(), "ada", cart{}))
	must[*sess](t)(m.Load(t.Context(), s.Token()))
	_, _ = m.Load(t.Context(), "junk")
	got := map[string]float64{}
	for metric := range client.Metrics() {
		if strings.HasPrefix(metric.Name, "redstart.session.") {
			name := metric.Name
			for _, label := range metric.Labels {
				if label.Name == "outcome" {
					name += " " + label.Value
				}
			}
			got[name] = metric.Value
			if metric.Help == "" || metric.Kind == observe.Gauge != (name == "redstart.session.watched") {
				t.Errorf("%+v", metric)
			}
		}
	}
	for name, want := range map[string]float64{"redstart.session.loads hit": 1,
		"redstart.session.loads miss": 1, "redstart.session.created": 1, "redstart.session.ended": 0} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
