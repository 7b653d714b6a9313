package session

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/codec"
)

// NoLimit stands for no limit of that kind, in Options.IdleTimeout and Lifetime (not both) and RenewGrace.
const NoLimit time.Duration = -1

// Defaults of Options' zero fields.
const (
	DefaultIdleTimeout = time.Hour
	DefaultLifetime    = 24 * time.Hour
	DefaultRememberFor = 30 * 24 * time.Hour
	DefaultRenewGrace  = 10 * time.Second
	DefaultMaxSize     = 64 << 10
	DefaultReplicaWait = 300 * time.Millisecond
)

// Options configure a Manager. The zero value is a good default.
type Options struct {
	// IdleTimeout ends a session that nobody used for so long; default 1 h, NoLimit. It is kept by the
	// server, exact to + min(IdleTimeout/10, 1 min), which is also how seldom use is written down (S2, S5).
	IdleTimeout time.Duration
	// Lifetime ends a session so long after its creation, in use or not; default 24 h, NoLimit.
	Lifetime time.Duration
	// MaxPerUser is how many sessions one user may have; the oldest is revoked. 0 = unlimited, at most 1000.
	MaxPerUser int
	// BeyondMax says what happens to a login beyond MaxPerUser; default DisplaceOldest.
	BeyondMax BeyondMax
	// Cookie is how the token travels.
	Cookie CookieOptions
	// Bearer also takes tokens from the Authorization header, for clients that are no browsers: see Middleware. Such a client gets its first
	// token from your own answer to its login, with Session.Token, or sends an empty bearer token with it and reads TokenHeader.
	Bearer bool
	// RememberFor is how long a remember-me token is good for; default 30 days. See Remember.
	RememberFor time.Duration
	// RenewGrace is how long a token that Renew has replaced still works, for requests that were on
	// their way; default 10 s, at most 1 min. NoLimit here means no grace at all.
	RenewGrace time.Duration

	// EncryptionKeys, of 32 bytes each, have users, devices and data encrypted (AES-256-GCM): the first key writes,
	// all read. To rotate: deploy {old, new} everywhere, then {new, old}, and drop the old one after the longer of IdleTimeout and
	// RememberFor. A process that lacks the key of a session answers ErrUnreadable and leaves it alone. Default: none.
	EncryptionKeys [][]byte
	// AllowPlaintext lets sessions from before there were EncryptionKeys live on. Without it they are not found.
	AllowPlaintext bool
	// UserKey, if set, makes the user tags in keys and tokens a keyed hash, so that a dump doesn't tell whether
	// a given user has sessions. It must never change: the sessions of before would not be listed or revoked.
	UserKey []byte

	// Codec encodes T; default codec.JSON.
	Codec codec.Codec
	// MaxSize bounds what one session stores, in bytes; default 64 KiB, at most 4 MiB. More is ErrTooLarge.
	MaxSize int

	// Outage says what Middleware does when a session can't be read; default Refuse.
	Outage Outage
	// OnOutage answers a request under Refuse, instead of a plain 503. It must not hand out what
	// needs a session: it is not known whether there is one.
	OnOutage func(w http.ResponseWriter, r *http.Request, err error)
	// OnEvent, if not nil, is called after what Event names has happened, on the goroutine of the call. It must be quick.
	OnEvent func(ctx context.Context, e Event)
	// Device says what List and OnEvent show of a request whose session begins with a remember-me token, if the token's Login noted a
	// device; default DeviceOf. Behind a proxy give one that knows the client's address.
	Device func(r *http.Request) CreateOption
	// Skip, if it returns true, lets a request pass Middleware without looking for a session: static files.
	Skip func(r *http.Request) bool

	// MinReplicas makes Destroy, Revoke, RevokeUser and RevokeOthers wait until so many replicas have them, so that a failover doesn't
	// bring a session back; ErrIndeterminate if they don't answer within ReplicaWait (default 300 ms). Default 0.
	MinReplicas int
	ReplicaWait time.Duration
}

// BeyondMax is a policy for logins of a user who has MaxPerUser sessions.
type BeyondMax uint8

const (
	// DisplaceOldest ends the user's oldest session, with its remember-me token.
	DisplaceOldest BeyondMax = iota
	// RefuseLogin has the login fail with ErrTooManySessions.
	RefuseLogin
)

// argument is how the scripts take it.
func (b BeyondMax) argument() string {
	if b == RefuseLogin {
		return "1"
	}
	return "0"
}

// Outage is a policy for requests whose session can't be read (S8).
type Outage uint8

const (
	// Refuse answers 503 Service Unavailable.
	Refuse Outage = iota
	// AnonymousReadOnly lets the request pass as a visitor's whose writes fail with redstart.ErrUnavailable and
	// who gets no cookie. Session.Degraded tells it apart from a real visitor.
	AnonymousReadOnly
)

// CookieOptions say how the token travels. The zero value is as strict as browsers allow: __Host-session, Secure,
// HttpOnly, SameSite=Lax, gone with the browser.
type CookieOptions struct {
	Name, Path, Domain string
	SameSite           http.SameSite
	// Persistent has the cookie survive the browser, until the session's Lifetime.
	Persistent bool
	// Insecure is for plain HTTP in development: no Secure, no __Host- prefix.
	Insecure bool
	// Partitioned keeps the cookies apart per embedding site (CHIPS). It needs Secure, and SameSite None to be sent in a frame at all.
	Partitioned bool
	// RememberName is the cookie of the remember-me token; default is Name with "remember" for "session", or Name-remember.
	RememberName string
}

const (
	minTimeout    = 10 * time.Millisecond
	maxTimeout    = 10 * 365 * 24 * time.Hour
	maxMaxSize    = 4 << 20
	mostPerUser   = 1000
	maxGrace      = time.Minute
	minMaxSize    = 64
	maxReplicaAge = time.Minute
)

// withDefaults fills in what is zero and names the field of what can't be.
func (o Options) withDefaults() (Options, error) {
	for _, f := range []struct {
		name     string
		value    *time.Duration
		def      time.Duration
		none     bool
		min, max time.Duration
	}{
		{"IdleTimeout", &o.IdleTimeout, DefaultIdleTimeout, true, minTimeout, maxTimeout},
		{"Lifetime", &o.Lifetime, DefaultLifetime, true, minTimeout, maxTimeout},
		{"RememberFor", &o.RememberFor, DefaultRememberFor, false, minTimeout, maxTimeout},
		{"RenewGrace", &o.RenewGrace, DefaultRenewGrace, true, time.Millisecond, maxGrace},
		{"ReplicaWait", &o.ReplicaWait, DefaultReplicaWait, false, time.Millisecond, maxReplicaAge},
	} {
		switch v := *f.value; {
		case v == 0:
			*f.value = f.def
		case v == NoLimit && f.none:
		case v < f.min || v > f.max:
			return o, fmt.Errorf("session: Options.%s is %v: between %v and %v", f.name, v, f.min, f.max)
		}
	}
	if o.IdleTimeout == NoLimit && o.Lifetime == NoLimit {
		return o, fmt.Errorf("session: Options.IdleTimeout and Lifetime are both NoLimit: every session must end some day")
	}
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	switch {
	case o.MaxPerUser < 0 || o.MaxPerUser > mostPerUser:
		return o, fmt.Errorf("session: Options.MaxPerUser is %d: between 0 and %d", o.MaxPerUser, mostPerUser)
	case o.MaxSize < minMaxSize || o.MaxSize > maxMaxSize:
		return o, fmt.Errorf("session: Options.MaxSize is %d: between %d and %d", o.MaxSize, minMaxSize, maxMaxSize)
	case o.MinReplicas < 0:
		return o, fmt.Errorf("session: Options.MinReplicas is %d: it must not be negative", o.MinReplicas)
	case o.Outage > AnonymousReadOnly:
		return o, fmt.Errorf("session: Options.Outage is %d: Refuse or AnonymousReadOnly", o.Outage)
	case o.BeyondMax > RefuseLogin:
		return o, fmt.Errorf("session: Options.BeyondMax is %d: DisplaceOldest or RefuseLogin", o.BeyondMax)
	case o.AllowPlaintext && len(o.EncryptionKeys) == 0:
		return o, fmt.Errorf("session: Options.AllowPlaintext is set, but there are no EncryptionKeys")
	case o.UserKey != nil && len(o.UserKey) < 16:
		return o, fmt.Errorf("session: Options.UserKey has %d bytes: at least 16", len(o.UserKey))
	}
	// The caller may overwrite its keys afterwards.
	o.UserKey = bytes.Clone(o.UserKey)
	o.EncryptionKeys = slices.Clone(o.EncryptionKeys)
	for i, key := range o.EncryptionKeys {
		o.EncryptionKeys[i] = bytes.Clone(key)
		if len(key) != keySize {
			return o, fmt.Errorf("session: Options.EncryptionKeys[%d] has %d bytes: %d", i, len(key), keySize)
		}
	}
	if o.Device == nil {
		o.Device = DeviceOf
	}
	if o.Codec == nil {
		o.Codec = codec.JSON
	}
	var err error
	o.Cookie, err = o.Cookie.withDefaults()
	return o, err
}

const (
	hostPrefix   = "__Host-"
	securePrefix = "__Secure-"

	maxCookieName = 256 // with the value well within the 4,096 bytes that browsers keep
)

func (c CookieOptions) withDefaults() (CookieOptions, error) {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode {
		c.SameSite = http.SameSiteLaxMode
	}
	if c.Name == "" {
		switch {
		case c.Insecure:
			c.Name = "session"
		case c.Domain != "" || c.Path != "/":
			c.Name = securePrefix + "session"
		default:
			c.Name = hostPrefix + "session"
		}
	}
	if c.RememberName == "" {
		if base, ok := strings.CutSuffix(c.Name, "session"); ok {
			c.RememberName = base + "remember"
		} else {
			c.RememberName = c.Name + "-remember"
		}
	}
	if c.RememberName == c.Name {
		return c, fmt.Errorf("session: Options.Cookie.RememberName is the session's own name, %q", c.Name)
	}
	for _, f := range []struct{ field, name string }{{"Name", c.Name}, {"RememberName", c.RememberName}} {
		lower := strings.ToLower(f.name) // browsers compare the prefixes so
		host, secure := strings.HasPrefix(lower, strings.ToLower(hostPrefix)), strings.HasPrefix(lower, strings.ToLower(securePrefix))
		switch {
		case c.Insecure && (host || secure):
			return c, fmt.Errorf("session: Options.Cookie.%s is %q, which browsers refuse with Insecure", f.field, f.name)
		case host && (c.Domain != "" || c.Path != "/"):
			return c, fmt.Errorf("session: Options.Cookie.%s is %q, which browsers refuse with a Domain or a Path other than /", f.field, f.name)
		}
		if len(f.name) > maxCookieName {
			return c, fmt.Errorf("session: Options.Cookie.%s is %d bytes long: at most %d", f.field, len(f.name), maxCookieName)
		}
		probe := http.Cookie{Name: f.name, Value: "v", Path: c.Path, Domain: c.Domain, SameSite: c.SameSite}
		if err := probe.Valid(); err != nil {
			return c, fmt.Errorf("session: Options.Cookie (%s %q, Path %q, Domain %q): %w", f.field, f.name, c.Path, c.Domain, err)
		}
	}
	switch {
	case c.Partitioned && c.Insecure:
		return c, fmt.Errorf("session: Options.Cookie.Partitioned is set, which browsers refuse with Insecure")
	case c.SameSite == http.SameSiteNoneMode && c.Insecure:
		return c, fmt.Errorf("session: Options.Cookie.SameSite is None, which browsers refuse with Insecure")
	case c.SameSite < http.SameSiteLaxMode || c.SameSite > http.SameSiteNoneMode:
		return c, fmt.Errorf("session: Options.Cookie.SameSite is %d: Lax, Strict or None", c.SameSite)
	}
	return c, nil
}

// CreateOption is one setting of a new session. See Lifetime, IdleTimeout, Device, DeviceOf, Remember.
type CreateOption struct {
	apply func(*creation)
}

// Lifetime sets the absolute limit of this session instead of Options.Lifetime.
func Lifetime(d time.Duration) CreateOption {
	return CreateOption{func(c *creation) { c.lifetime = d }}
}

// IdleTimeout sets the idle limit of this session instead of Options.IdleTimeout.
func IdleTimeout(d time.Duration) CreateOption {
	return CreateOption{func(c *creation) { c.idle = d }}
}

// Device notes what List tells the user about this session: his browser's words about itself and the address
// that he came from. They are kept as given, cut to 256 and 64 bytes.
func Device(userAgent, address string) CreateOption {
	return CreateOption{func(c *creation) {
		c.userAgent, c.address = cut(userAgent, maxUserAgent), cut(address, maxAddress)
	}}
}

// DeviceOf is Device with the request's User-Agent and the host of its RemoteAddr. Behind a proxy use Device
// with the address that you trust.
func DeviceOf(r *http.Request) CreateOption {
	return Device(r.UserAgent(), hostOf(r.RemoteAddr))
}

// Remember also makes a remember-me token for the user, good for Options.RememberFor: Middleware
// hands it out as a persistent cookie of its own and begins a new session with it when there is no
// other. It works once: each use replaces it. It ends with the session's Destroy or Revoke, and with RevokeUser.
func Remember() CreateOption {
	return CreateOption{func(c *creation) { c.remember = true }}
}

// Persistent has this session's cookie survive the browser, until the session's Lifetime, as CookieOptions.Persistent has all.
func Persistent() CreateOption {
	return CreateOption{func(c *creation) { c.persistent = true }}
}

// sameDevice notes the device of a request that begins a session without a Login, if the Login had noted one.
func sameDevice(device CreateOption) CreateOption {
	return CreateOption{func(c *creation) {
		if c.sameDevice = true; device.apply != nil {
			device.apply(c)
		}
	}}
}

// creation is what is asked for with a new session.
type creation struct {
	idle, lifetime     time.Duration
	userAgent, address string
	remember           bool
	persistent         bool
	sameDevice         bool // the device is noted only if the session before had noted one
}

const (
	maxUserAgent = 256
	maxAddress   = 64
	maxUser      = 1024
)

func (o *Options) creation(opts []CreateOption) (creation, error) {
	c := creation{idle: o.IdleTimeout, lifetime: o.Lifetime}
	for _, opt := range opts {
		if opt.apply != nil {
			opt.apply(&c)
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"IdleTimeout", c.idle}, {"Lifetime", c.lifetime}} {
		if f.value != NoLimit && (f.value < minTimeout || f.value > maxTimeout) {
			return c, fmt.Errorf("%s(%v): between %v and %v, or NoLimit", f.name, f.value, minTimeout, maxTimeout)
		}
	}
	if c.idle == NoLimit && c.lifetime == NoLimit {
		return c, fmt.Errorf("IdleTimeout and Lifetime are both NoLimit: every session must end some day")
	}
	return c, nil
}

func cut(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "")
}

func hostOf(remoteAddr string) string {
	if i := strings.LastIndexByte(remoteAddr, ':'); i >= 0 {
		remoteAddr = remoteAddr[:i]
	}
	return strings.Trim(remoteAddr, "[]")
}

// limit is a duration as the scripts take it: 0 is none.
func limit(d time.Duration) string {
	if d == NoLimit {
		return "0"
	}
	return millis(d)
}
