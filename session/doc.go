// Package session stores login sessions on the server. A session belongs to a user or to an
// anonymous visitor, and has typed data. The browser gets a random token in a cookie.
//
// # What
//
// [Manager] creates, finds and ends sessions. [Manager.Middleware] gives each request its session,
// and [Manager.FromContext] returns it. [Session.Watch] returns a context that ends when the
// session ends, for event streams and WebSockets. [Remember] issues a remember-me token, which
// starts a new session when the old session has expired. [Store] is a store for scs.
//
// # Quick start
//
//	type Account struct {
//		Cart  []string
//		Theme string
//	}
//
//	sessions, err := session.New[Account](client, "web", session.Options{})
//
//	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
//		user, err := checkPassword(r)
//		…
//		err = sessions.Login(r.Context(), user, session.DeviceOf(r))
//	})
//	mux.HandleFunc("POST /cart", func(w http.ResponseWriter, r *http.Request) {
//		err := sessions.Update(r.Context(), func(a *Account) error {
//			a.Cart = append(a.Cart, r.FormValue("item"))
//			return nil
//		})
//	})
//	handler := http.NewCrossOriginProtection().Handler(sessions.Middleware(mux))
//
// The last line protects against cross-site request forgery. [http.CrossOriginProtection] refuses
// unsafe methods from other origins. SameSite=Lax alone is not enough, because it allows requests
// from other subdomains.
//
// # Guarantees
//
//   - S1: After Revoke, RevokeUser, RevokeOthers or Destroy has returned, the next load in every
//     process fails. A concurrent save, touch, login or renewal does not bring the session back.
//   - S2: The server enforces IdleTimeout and Lifetime. An unused session ends at most
//     min(IdleTimeout/10, 1 min) after its IdleTimeout. Every key has a TTL.
//   - S3: No concurrent Update is lost, also during a Login. Data stays with its user: Login keeps
//     the data of a visitor and of the same user, and drops the data of another user.
//   - S4: An unknown, malformed, hash-valued or expired token never starts or takes over a session.
//     Login changes the token.
//   - S5: A request that does not change its session costs one read, no write and no Set-Cookie
//     header. A visitor without a cookie costs no command.
//   - S6: A dump of the server contains no usable cookie. With EncryptionKeys it contains no
//     plaintext. Tokens never appear in logs or errors.
//   - S7: Middleware hides no capability of the ResponseWriter. A call that needs a cookie after
//     the header was sent returns an error.
//   - S8: If the server does not answer, or if this process lacks the key of the session, the
//     request gets a 503. No user is logged out, and no request gets an empty session.
//
// # Limits
//
// Redis replicates asynchronously. A failover can lose the last writes: a session can return to an
// older state or disappear. Without [Options.MinReplicas], a failover can also lose a revocation.
//
// A server that evicts keys (a maxmemory-policy other than noeviction) can evict the index of a
// user before the sessions of this user. Then RevokeUser misses those sessions until their next
// touch. The client logs a warning about such a server at Open.
//
// A token has 80 characters: a tag that all sessions of a user share, an id, and a secret of 264
// random bits. The key of a session is <namespace>:session:<name>:{<tag>}:s:<id>. All keys of a
// user are in one slot of a cluster, so that each change is one atomic script. The server stores
// the SHA-256 of the secret. Renew replaces the secret; the id stays the same.
//
// The conventions of all packages, with the classes of errors, outages, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
//
// # Cost
//
// A request with a session costs one GET. Update, Login and Renew cost one script more. A visitor
// has no session on the server until the first Update, Flash or Login.
//
// # When not to use
//
// Use signed tokens (JWT) if a service must check a request without a connection to Redis, and if
// no session must end before its expiry. Store data that must survive the loss of Redis in a
// database: a session is gone when its TTL ends.
package session
