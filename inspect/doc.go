// Package inspect shows and repairs what the patterns keep on the server: caches, locks, limits,
// sessions, events and idempotency keys.
//
// # What
//
// An [Inspector] reads through the formats and scripts of the patterns, so it shows what they would
// see. It explains why a cached value is stale, who holds a lock, and what a limit would answer. It
// is the base of the command redstartctl and of package console. Its exported structs have JSON
// names, and programs may store their JSON.
//
// # Quick start
//
//	in, err := inspect.New(client, inspect.Options{ReadOnly: true})
//	if err != nil {
//		return err
//	}
//	why, err := in.Caches().Explain(ctx, "users", "42")
//	fmt.Println(why.Verdict, why.Reason)
//
// # Guarantees
//
//   - A call that only reads changes nothing on the server. It works with the user of
//     deploy/acl/redstart-inspect.acl, which has no command that writes.
//   - A repair goes through the public method or the script of its pattern, so the guarantees of
//     the pattern hold. It needs the user of deploy/acl/redstart-operate.acl.
//   - Each repair is logged with the name of its actor, before its caller gets the result. With
//     Options.ReadOnly, each repair returns [ErrReadOnly] and sends nothing.
//   - Values, responses and data of events are never part of an answer, unless the caller requests
//     them. Tokens of sessions never are.
//   - Data of other programs, and of other releases, is reported as such. It is never decoded in
//     part.
//
// # Limits
//
// A list is not a snapshot. It is read with SCAN, one primary at a time. An entry that is written
// in the meantime may be missing, and one may occur twice. A call examines at most 100,000 keys and
// starts no new step after 0.4 s. [List].Next continues the list. If a primary leaves the cluster
// between two pages, keys that moved to an earlier primary are missing.
//
// If some partitions of a bus can't be read, the other ones are shown: see [List] and
// [GroupInfo].
//
// The server has no index of names. So a list of names is a sample until its last page.
//
// Keys, names and ids may hold any bytes. Escape them before you print them: strconv.Quote for
// terminals, html/template for pages.
//
// # Cost
//
// A list takes one round trip per 1,000 keys that it examines, and one per page for the details. A
// call for one object takes one to three round trips. No call blocks the server for longer than one
// such step.
//
// # When not to use
//
// Do not build features on this package: its answers are for operators. Use the pattern itself, and
// the metrics of package observe for numbers over time.
//
// Classes of errors, names and sizes:
// https://github.com/redstart-go/redstart/blob/main/docs/conventions.md
package inspect
