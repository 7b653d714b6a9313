// Package redstartgoredis makes a redstart.Config from a client or the options of go-redis. A
// program that has go-redis gets a Redstart client for the same servers, and keeps its own client.
//
// # Quick start
//
//	cfg, err := redstartgoredis.ConfigFrom(rdb)
//	cfg.Namespace = "shop"
//	client, err := redstart.Open(ctx, cfg)
//
// # What is carried over
//
// The addresses, the database, TLS, the login, the provider of credentials, the dialer, the
// protocol and the client name. CommandTimeout is ReadTimeout, which is 5 s if you did not set it.
// Protocol 3 becomes 0: both clients try RESP3 first.
//
// # Differences
//
// Redstart has its own connections, and does not use those of go-redis. Pool sizes, buffer sizes,
// connection ages and idle times have no counterpart. Redstart repeats only calls that change
// nothing, so the retries of go-redis are not carried over. Reads go to the primary. CommandTimeout
// limits dialing too. A ReadTimeout of -1 or -2 (no limit) becomes the default of
// redstart.Config.CommandTimeout. Hooks (AddHook), a Limiter and notifications of maintenance do
// not see the calls of Redstart.
//
// With a provider that streams credentials, Redstart asks for them every 5 s for each connection,
// and sends AUTH.
//
// # Errors
//
// What would change the meaning of a connection is an error: OnConnect, NewClient, ClusterSlots, a
// client of NewFailoverClient (pass its options) and ReplicaOnly.
package redstartgoredis
