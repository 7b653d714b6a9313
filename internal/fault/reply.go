package fault

import "strings"

// codes are the first words of error replies. After each of them, the command was not executed, or
// the server ended it by its own decision. So the outcome is never unknown.
var codes = map[string]verdict{
	"OOM":         {ErrFull, "free memory or raise maxmemory on the server"},
	"NOAUTH":      {ErrDenied, "set the user name and password (REDIS_URL, REDIS_USERNAME, REDIS_PASSWORD)"},
	"WRONGPASS":   {ErrDenied, "check the user name and password (REDIS_URL, REDIS_USERNAME, REDIS_PASSWORD)"},
	"NOPERM":      {ErrDenied, stepACL},
	"DENIED":      {ErrDenied, "the server is in protected mode: set a password on it"},
	"WRONGTYPE":   {ErrCorrupt, "another program uses this key: choose another REDIS_NAMESPACE"},
	"INVALIDOBJ":  {ErrCorrupt, "another program uses this key: choose another REDIS_NAMESPACE"},
	"READONLY":    {ErrUnavailable, "this server is a replica: retry after the failover, or point REDIS_URL to the primary"},
	"LOADING":     {ErrUnavailable, "the server loads its data: retry later"},
	"BUSY":        {ErrUnavailable, "another client's script blocks the server: retry later"},
	"MASTERDOWN":  {ErrUnavailable, "this replica has lost its primary: retry later"},
	"CLUSTERDOWN": {ErrUnavailable, "the cluster does not serve this slot: retry after the failover"},
	"TRYAGAIN":    {ErrUnavailable, "the slot is being moved: retry"},
	"MOVED":       {ErrUnavailable, "the slot has moved: retry, and give a redis+cluster:// URL if the server is a cluster"},
	"ASK":         {ErrUnavailable, "the slot is being moved: retry"},
	"REDIRECT":    {ErrUnavailable, "the server has handed over its role: retry"},
	"NOREPLICAS":  {ErrUnavailable, "too few replicas are in reach of the primary: retry later"},
	"MISCONF":     {ErrUnavailable, "the server can't write to its disk and refuses writes: see its log"},
	"NOSCRIPT":    {ErrUnavailable, "the server lost its script cache: retry"},
	"UNBLOCKED":   {ErrUnavailable, "the server changed its role: retry"},
	"IOERR":       {ErrUnavailable, stepRetry},
	"NOQUORUM":    {ErrUnavailable, "too few sentinels: retry later"},
	"NOGOODSLAVE": {ErrUnavailable, "no replica can be promoted: retry later"},
	"INPROG":      {ErrUnavailable, "a failover is in progress: retry"},
	"NOPROTO":     {nil, stepServer},
}

// phrases are parts of replies without a specific code ("ERR …", which rueidis cuts off). Redis 7.0
// drops the code of errors in scripts, and Redis 7.2 has other texts. The first phrase that matches
// decides, so special phrases come first.
var phrases = []struct {
	text string
	verdict
}{
	{"The user executing the script can't", verdict{ErrDenied, stepACL}}, // 7.0, in a script: command, key, channel
	{"ACL failure in script", verdict{ErrDenied, stepACL}},               // 7.2 and newer
	{"No permissions to access", verdict{ErrDenied, stepACL}},
	{"has no permissions to", verdict{ErrDenied, stepACL}},
	{"operation not permitted", verdict{ErrDenied, stepACL}},
	{"invalid password", verdict{ErrDenied, "check the password (REDIS_URL, REDIS_PASSWORD)"}},
	{"without any password configured", verdict{ErrDenied,
		"the server has no password: remove it from REDIS_URL and REDIS_PASSWORD"}},
	{"command not allowed when used memory", verdict{ErrFull, "free memory or raise maxmemory on the server"}},
	{"max number of clients", verdict{ErrUnavailable,
		"the server's maxclients is reached: lower REDIS_POOL_SIZE or raise maxclients"}},
	{"Script killed by user", verdict{ErrUnavailable, "an operator ended the script: retry later"}},
	{"non local key in a cluster node", verdict{ErrUnavailable, "the slot has moved: retry"}},
	{"slot not served", verdict{ErrUnavailable, "the cluster does not serve this slot: retry after the failover"}},
	{"cluster is down", verdict{ErrUnavailable, "the cluster does not serve this slot: retry after the failover"}},
	{"on a stale replica", verdict{ErrUnavailable, "this replica has lost its primary: retry later"}},
	{"from a read-only replica", verdict{ErrUnavailable, "this server is a replica: retry after the failover"}},
	{"unable to persist to disk", verdict{ErrUnavailable, "the server can't write to its disk and refuses writes: see its log"}},
	{"server is shutting down", verdict{ErrUnavailable, stepRetry}},
	{"exceeds maximum allowed size", verdict{ErrTooLarge, "the server takes no value larger than its proto-max-bulk-len"}},
	{"invalid bulk length", verdict{ErrTooLarge, "the server takes no value larger than its proto-max-bulk-len"}},
	{"too many arguments", verdict{ErrTooLarge, ""}},
	{"too many results to unpack", verdict{ErrTooLarge, ""}},
	{"is not an integer", verdict{ErrCorrupt, "another program uses this key: choose another REDIS_NAMESPACE"}},
	{"is not a valid float", verdict{ErrCorrupt, "another program uses this key: choose another REDIS_NAMESPACE"}},
	{"is not a float", verdict{ErrCorrupt, "another program uses this key: choose another REDIS_NAMESPACE"}},
	{"increment or decrement would overflow", verdict{ErrCorrupt,
		"another program uses this key: choose another REDIS_NAMESPACE"}},
	{"DB index is out of range", verdict{nil, "the server has fewer databases than the number in REDIS_URL"}},
	{"SELECT is not allowed in cluster mode", verdict{nil, "the server is part of a cluster: use a redis+cluster:// URL"}},
	{"unknown command", verdict{nil, stepServer}},
	{"Unknown Redis command", verdict{nil, stepServer}},
	{"unknown subcommand", verdict{nil, stepServer}},
}

const (
	stepACL    = "give the user the rules of the shipped ACL file"
	stepServer = "Redis 7.0 or Valkey 7.2 or newer is needed, with no command renamed"
)

// verdict is the meaning of an error: its class, which may be nil, and the next step.
type verdict struct {
	class error
	step  string
}

// classifyReply classifies an error reply by its text.
func classifyReply(text string) verdict {
	text = strings.TrimPrefix(text, "ERR ")
	if _, inner, ok := strings.Cut(text, "Transaction discarded because of: "); ok {
		return classifyReply(inner)
	}
	code, _, _ := strings.Cut(text, " ")
	v, known := codes[code]
	if !known {
		for _, p := range phrases {
			if strings.Contains(text, p.text) {
				v = p.verdict
				break
			}
		}
	}
	if v.step == stepACL {
		v.step = aclStep(text)
	}
	return v
}

// aclStep names the missing ACL rule if the server names the command that it refused.
func aclStep(text string) string {
	_, rest, ok := strings.Cut(text, "to run the '")
	if !ok {
		return stepACL
	}
	command, _, ok := strings.Cut(rest, "'")
	if !ok || command == "" || len(command) > 64 {
		return stepACL
	}
	return "give the user +" + clean(command) + ", as the shipped ACL files do where a feature needs it"
}
