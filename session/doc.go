// Package session keeps who is logged in, and a little data about it, on the server. The browser gets a random token in a cookie.
//
// # Guarantees
//
//   - S1: after Revoke, RevokeUser, RevokeOthers or Destroy returned, the next load anywhere is refused, and no save, touch, login
//     or renewal that is under way brings the session back.
//   - S2: IdleTimeout (exact to + min(IdleTimeout/10, 1 min)) and Lifetime are kept by the server. No key lacks a TTL.
//   - S3: concurrent Updates all survive, a Login in between included. Data stays with its user: a Login takes it over from a visitor
//     and from the same user only.
//   - S4: an unknown, malformed, hash-valued or expired token never begins or takes over a session. Login changes the token.
//   - S5: an untouched request costs one read, no write and no Set-Cookie; a visitor without a cookie costs no command.
//   - S6: a dump of the server holds no usable cookie and, with EncryptionKeys, no plaintext. Tokens never reach logs or errors.
//   - S7: Middleware hides no capability of the ResponseWriter; a cookie that comes too late is an error.
//   - S8: when the server does not answer, or the session is under a key that this process lacks, requests get a 503: no user is logged
//     out, and no request gets an empty session.
//
// Where they end: Redis replicates asynchronously, so a failover can lose the last writes: a session falls back to an older state or is
// gone, and without Options.MinReplicas a revocation just before can be lost. A server that evicts (maxmemory-policy other than
// noeviction) may drop a user's index before his sessions, which RevokeUser then misses until their next touch; the
// client warns of such a server at Open.
//
// # Use
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
// The last line is the protection against forged requests of other sites: the standard library's, which refuses unsafe methods from other
// origins. SameSite=Lax alone is not enough, it lets other subdomains through.
//
// Cost: a request with a session is one GET; Update is one script more, Login and Renew one too. A visitor has no session on the
// server until the first Update, Flash or Login.
//
// # Long-lived handlers
//
// A server-sent event stream or a WebSocket outlives the check at its beginning. Session.Watch returns a context that ends
// when the session does.
//
// # Remember me
//
// Remember makes a second token, whose cookie survives the browser and begins a new session when the old one has ended. It is replaced with each
// use. When a replaced token comes again, one of two browsers has stolen it: the token and its session end, and Options.OnEvent reports it.
// A recalled session is Recalled; ask for the password before a sensitive change when AuthenticatedAt is long ago.
//
// # How it is stored
//
// A token is 80 characters: a tag that is the same for all sessions of a user, an id, and a secret of 264 random bits. The
// record lies at <namespace>:session:{<tag>}:s:<id>, so that everything of one user is in one slot of a cluster and every change is one atomic
// script; it holds the secret's SHA-256. Renew replaces the secret in place: id, lists and revocations don't notice.
package session
