package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/redstart-go/redstart/codec"
)

// Values that disable a time limit. The zero value of a field is its default.
const (
	NoIdleTimeout time.Duration = none // for Options.IdleTimeout
	NoLifetime    time.Duration = none // for Options.Lifetime
	NoGrace       time.Duration = none // for Options.RenewGrace
)

const none = -1

// The defaults of the zero fields of Options.
const (
	defaultIdleTimeout = time.Hour
	defaultLifetime    = 24 * time.Hour
	defaultRememberFor = 30 * 24 * time.Hour
	defaultRenewGrace  = 10 * time.Second
	defaultMaxSize     = 64 << 10
	defaultReplicaWait = 300 * time.Millisecond
)

// Options configures a [Manager]. The zero value is a good default.
type Options struct {
	// IdleTimeout is the time after the last use at which a session ends. Default 1 h.
	// NoIdleTimeout disables it. The server enforces it. The use is written once per
	// min(IdleTimeout/10, 1 min), so a session can end that much later (S2, S5).
	IdleTimeout time.Duration
	// Lifetime is the time after its creation at which a session ends, in use or not. Default 24 h.
	// NoLifetime disables it. IdleTimeout and Lifetime can't both be disabled.
	Lifetime time.Duration
	// MaxPerUser is the number of sessions that a user can have at the same time, at most 1000.
	// Default 0, unlimited.
	MaxPerUser int
	// BeyondMax is the policy for a login of a user who has MaxPerUser sessions. Default
	// DisplaceOldest.
	BeyondMax BeyondMax
	// Cookie configures the cookies.
	Cookie CookieOptions
	// Bearer enables tokens in the Authorization header, for clients that are not browsers. See
	// [Manager.Middleware]. Such a client gets its first token in one of two ways: the login
	// handler sends [Session.Token] in its response, or the client sends "Authorization: Bearer"
	// without a token with the login and reads [TokenHeader].
	Bearer bool
	// RememberFor is the TTL of a remember-me token. Default 30 days. See [Remember].
	RememberFor time.Duration
	// RenewGrace is the time for which a token that Renew has replaced is still accepted, for
	// requests that are already under way. Default 10 s, at most 1 min. NoGrace disables it.
	RenewGrace time.Duration

	// EncryptionKeys encrypts users, devices and data with AES-256-GCM. Each key has 32 bytes. The
	// first key encrypts; all keys decrypt. To rotate the key, deploy {old, new} to every process,
	// then {new, old}. Remove the old key after the longer of IdleTimeout and RememberFor. A
	// process that lacks the key of a session returns ErrUnreadable and does not change the
	// session. Default none: no encryption.
	EncryptionKeys [][]byte
	// AllowPlaintext accepts sessions that were stored before EncryptionKeys was set. Without it
	// they are not found.
	AllowPlaintext bool
	// UserKey is the HMAC key of the user tags in keys and tokens, at least 16 bytes. With it, a
	// dump of the server does not show whether a given user has sessions. Never change it: sessions
	// that were stored before would not be listed or revoked. Default none: the tag is a plain
	// hash.
	UserKey []byte

	// Codec encodes the data. Default codec.JSON.
	Codec codec.Codec
	// MaxSize is the limit of the data and flash messages of one session, in bytes. Default 64 KiB,
	// at most 4 MiB. More is a redstart.ErrTooLarge.
	MaxSize int

	// Outage is the policy of Middleware for a session that can't be read. Default Refuse.
	Outage Outage
	// OnOutage writes the response under Refuse, instead of a plain 503. It must not return content
	// that needs a session, because it is unknown whether the request has one.
	OnOutage func(w http.ResponseWriter, r *http.Request, err error)
	// OnEvent is called after each [Event], on the goroutine of the call. It must be fast.
	OnEvent func(ctx context.Context, e Event)
	// Device returns the device of a request whose session starts with a remember-me token. It is
	// used if the Login of the token has set a device. Default DeviceOf. Behind a proxy, set a
	// function that knows the address of the client.
	Device func(r *http.Request) CreateOption
	// Skip returns true for requests that need no session, for example static files. Middleware
	// then calls the handler without a session.
	Skip func(r *http.Request) bool

	// MinReplicas is the number of replicas that must confirm a Destroy, Revoke, RevokeUser or
	// RevokeOthers, so that a failover does not bring the session back. Fewer confirmations within
	// ReplicaWait are a redstart.ErrIndeterminate. Default 0.
	MinReplicas int
	// ReplicaWait is the time that MinReplicas waits. Default 300 ms, at most 1 min.
	ReplicaWait time.Duration
}

// BeyondMax is a policy for the login of a user who has [Options.MaxPerUser] sessions.
type BeyondMax uint8

const (
	// DisplaceOldest ends the user's oldest session, with its remember-me token.
	DisplaceOldest BeyondMax = iota
	// RefuseLogin makes the login fail with ErrTooManySessions.
	RefuseLogin
)

// argument returns the policy as an argument of the scripts.
func (b BeyondMax) argument() string {
	if b == RefuseLogin {
		return "1"
	}
	return "0"
}

// Outage is a policy for requests whose session can't be read (S8). docs/conventions.md compares
// the policies of all packages.
type Outage uint8

const (
	// Refuse responds with 503 Service Unavailable.
	Refuse Outage = iota
	// AnonymousReadOnly passes the request to the handler with an anonymous session and without a
	// cookie. Writes fail with redstart.ErrUnavailable. Session.Degraded reports this state.
	AnonymousReadOnly
)

const (
	minTimeout    = 10 * time.Millisecond
	maxTimeout    = 10 * 365 * 24 * time.Hour
	maxMaxSize    = 4 << 20
	mostPerUser   = 1000
	maxGrace      = time.Minute
	minMaxSize    = 64
	maxReplicaAge = time.Minute
)

// withDefaults sets the defaults and validates every field. Its error names the field.
func (o Options) withDefaults() (Options, error) {
	for _, f := range []struct {
		name     string
		value    *time.Duration
		def      time.Duration
		none     string // the constant that disables the limit, "" if there is none
		min, max time.Duration
	}{
		{"IdleTimeout", &o.IdleTimeout, defaultIdleTimeout, "NoIdleTimeout", minTimeout, maxTimeout},
		{"Lifetime", &o.Lifetime, defaultLifetime, "NoLifetime", minTimeout, maxTimeout},
		{"RememberFor", &o.RememberFor, defaultRememberFor, "", minTimeout, maxTimeout},
		{"RenewGrace", &o.RenewGrace, defaultRenewGrace, "NoGrace", time.Millisecond, maxGrace},
		{"ReplicaWait", &o.ReplicaWait, defaultReplicaWait, "", time.Millisecond, maxReplicaAge},
	} {
		switch v := *f.value; {
		case v == 0:
			*f.value = f.def
		case v == none && f.none != "":
		case v < f.min || v > f.max:
			want := fmt.Sprintf("want %v to %v", f.min, f.max)
			if f.none != "" {
				want += ", or " + f.none
			}
			return o, fmt.Errorf("session: Options.%s is %v: %s", f.name, v, want)
		}
	}
	if o.IdleTimeout == none && o.Lifetime == none {
		return o, errors.New("session: Options.IdleTimeout is NoIdleTimeout and Options.Lifetime is NoLifetime: " +
			"set one of them, every session must end")
	}
	if o.MaxSize == 0 {
		o.MaxSize = defaultMaxSize
	}
	switch {
	case o.MaxPerUser < 0 || o.MaxPerUser > mostPerUser:
		return o, fmt.Errorf("session: Options.MaxPerUser is %d: want 0 to %d", o.MaxPerUser, mostPerUser)
	case o.MaxSize < minMaxSize || o.MaxSize > maxMaxSize:
		return o, fmt.Errorf("session: Options.MaxSize is %d: want %d to %d", o.MaxSize, minMaxSize, maxMaxSize)
	case o.MinReplicas < 0:
		return o, fmt.Errorf("session: Options.MinReplicas is %d: want 0 or more", o.MinReplicas)
	case o.Outage > AnonymousReadOnly:
		return o, fmt.Errorf("session: Options.Outage is %d: want Refuse or AnonymousReadOnly", o.Outage)
	case o.BeyondMax > RefuseLogin:
		return o, fmt.Errorf("session: Options.BeyondMax is %d: want DisplaceOldest or RefuseLogin", o.BeyondMax)
	case o.AllowPlaintext && len(o.EncryptionKeys) == 0:
		return o, fmt.Errorf("session: Options.AllowPlaintext is set without EncryptionKeys: set EncryptionKeys too")
	case o.UserKey != nil && len(o.UserKey) < 16:
		return o, fmt.Errorf("session: Options.UserKey has %d bytes: want at least 16", len(o.UserKey))
	}

	// The caller may overwrite its slices later.
	o.UserKey = bytes.Clone(o.UserKey)
	o.EncryptionKeys = slices.Clone(o.EncryptionKeys)
	for i, key := range o.EncryptionKeys {
		o.EncryptionKeys[i] = bytes.Clone(key)
		if len(key) != keySize {
			return o, fmt.Errorf("session: Options.EncryptionKeys[%d] has %d bytes: want %d", i, len(key), keySize)
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

// CreateOption changes one setting of a new session. See [Lifetime], [IdleTimeout], [Device],
// [DeviceOf], [Persistent] and [Remember].
type CreateOption struct {
	apply func(*sessionSettings)
}

// Lifetime sets the Lifetime of this session instead of [Options.Lifetime].
func Lifetime(d time.Duration) CreateOption {
	return CreateOption{func(s *sessionSettings) { s.lifetime = d }}
}

// IdleTimeout sets the IdleTimeout of this session instead of [Options.IdleTimeout].
func IdleTimeout(d time.Duration) CreateOption {
	return CreateOption{func(s *sessionSettings) { s.idle = d }}
}

// Device stores the user agent and the address of the session, for [Manager.List] and [Event]. They
// are stored as given, cut to 256 and 64 bytes.
func Device(userAgent, address string) CreateOption {
	return CreateOption{func(s *sessionSettings) {
		s.userAgent, s.address = cut(userAgent, maxUserAgent), cut(address, maxAddress)
	}}
}

// DeviceOf is [Device] with the User-Agent of the request and the host of its RemoteAddr. Behind a
// proxy, use Device with an address that you trust.
func DeviceOf(r *http.Request) CreateOption {
	return Device(r.UserAgent(), hostOf(r.RemoteAddr))
}

// Remember also issues a remember-me token for the user, with the TTL [Options.RememberFor].
// Middleware sends it as a persistent cookie of its own. Middleware starts a new session with it
// when the request has no other session. Each use replaces the token. The token ends with Destroy
// and Revoke of its session, and with RevokeUser.
//
// If a replaced token is used again, it was stolen from one of two browsers. Then the token and its
// session end, and [Options.OnEvent] receives [EventReused]. [Session.Recalled] reports a session
// that started with a remember-me token. Ask for the password before a sensitive change if
// [Session.AuthenticatedAt] is long ago.
func Remember() CreateOption {
	return CreateOption{func(s *sessionSettings) { s.remember = true }}
}

// Persistent makes the cookie of this session survive the end of the browser, until the Lifetime of
// the session. [CookieOptions.Persistent] does this for all sessions.
func Persistent() CreateOption {
	return CreateOption{func(s *sessionSettings) { s.persistent = true }}
}

// sameDevice sets the device of a request that starts a session without a Login, if the Login had
// set a device.
func sameDevice(device CreateOption) CreateOption {
	return CreateOption{func(s *sessionSettings) {
		if s.sameDevice = true; device.apply != nil {
			device.apply(s)
		}
	}}
}

// sessionSettings are the settings of a new session.
type sessionSettings struct {
	idle, lifetime     time.Duration
	userAgent, address string
	remember           bool
	persistent         bool
	sameDevice         bool // the device is stored only if the previous session had a device
}

const (
	maxUserAgent = 256
	maxAddress   = 64
	maxUser      = 1024
)

func (o *Options) settings(opts []CreateOption) (sessionSettings, error) {
	s := sessionSettings{idle: o.IdleTimeout, lifetime: o.Lifetime}
	for _, opt := range opts {
		if opt.apply != nil {
			opt.apply(&s)
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"IdleTimeout", s.idle}, {"Lifetime", s.lifetime}} {
		if f.value != none && (f.value < minTimeout || f.value > maxTimeout) {
			return s, fmt.Errorf("%s(%v): want %v to %v, or No%s", f.name, f.value, minTimeout, maxTimeout, f.name)
		}
	}
	if s.idle == none && s.lifetime == none {
		return s, errors.New("IdleTimeout is NoIdleTimeout and Lifetime is NoLifetime: set one of them, every session must end")
	}
	return s, nil
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

// limit returns a duration as an argument of the scripts: ms, 0 for none.
func limit(d time.Duration) string {
	if d == none {
		return "0"
	}
	return millis(d)
}
