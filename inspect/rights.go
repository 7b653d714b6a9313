package inspect

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/redstart-go/redstart/internal/core"
	"github.com/redstart-go/redstart/internal/fault"
)

// patternRights has, for each pattern, calls that it can't do without. KEY stands for a key of the
// namespace. deploy/acl/redstart.acl has all rules.
var patternRights = []struct {
	pattern string
	calls   []string
}{
	{"cache", []string{"GET KEY", "SET KEY v", "DEL KEY", "PEXPIRE KEY 1", "PTTL KEY", "STRLEN KEY", "SETRANGE KEY 0 v"}},
	{"lock", []string{"GETEX KEY", "SET KEY v", "ZADD KEY 1 m", "ZRANGE KEY 0 0", "ZREM KEY m", "HSET KEY f v", "HGET KEY f"}},
	{"events", []string{"XADD KEY * f v", "XREADGROUP GROUP g c STREAMS KEY >", "XACK KEY g 1-1", "XRANGE KEY - +", "ZADD KEY 1 m"}},
	{"session", []string{"GET KEY", "SET KEY v", "DEL KEY", "ZADD KEY 1 m", "ZREM KEY m", "PEXPIREAT KEY 1"}},
	{"ratelimit", []string{"MGET KEY", "SET KEY v", "XADD KEY * f v", "ZADD KEY 1 m", "ZCOUNT KEY 0 1"}},
	{"idempotency", []string{"HMGET KEY f", "HSET KEY f v", "PEXPIRE KEY 1", "DEL KEY"}},
}

// readCalls are the commands of patternRights that write nothing.
var readCalls = []string{"EVALSHA", "GET", "PTTL", "STRLEN", "ZRANGE", "HGET", "XRANGE", "MGET", "ZCOUNT", "HMGET"}

// operateUser is the user of deploy/acl/redstart-operate.acl. It repairs, and runs no service.
const operateUser = "redstart-operate"

// rights checks the rights of a user, by ACL DRYRUN. It executes none of the calls.
func (in *Inspector) rights(ctx context.Context) ([]Finding, error) {
	user := in.opt.ServiceUser
	if user == "" {
		reply, err := in.core.Do(ctx, core.ReadAt("", "ACL", "WHOAMI"))
		if err != nil {
			return couldNotLook("", err)
		}
		if user, err = reply.ToString(); err != nil {
			return nil, err
		}
	}

	space, err := in.core.Keys("cache", "doctor")
	if err != nil {
		return nil, err
	}
	var cmds []core.Command
	for _, p := range patternRights {
		for _, call := range append([]string{"EVALSHA digest 1 KEY"}, p.calls...) {
			args := append([]string{"DRYRUN", user}, strings.Fields(call)...)
			args[slices.Index(args[2:], "KEY")+2] = space.Key("")
			cmds = append(cmds, core.ReadAt("", "ACL", args...))
		}
	}
	return in.judgeRights(user, in.core.DoMulti(ctx, cmds...))
}

// judgeRights returns the findings for the replies of ACL DRYRUN. Each pattern that lacks a right
// has a finding, unless the user is the user of a tool.
func (in *Inspector) judgeRights(user string, replies []core.Result) ([]Finding, error) {
	fix := "give the user the rules of deploy/acl/redstart.acl"
	if in.opt.ServiceUser == "" {
		fix += "; if services have another user, name it: Options.ServiceUser, or redstartctl doctor --user"
	}
	findings, next, writes := []Finding{}, 0, false
	for _, p := range patternRights {
		var missing []string
		for _, call := range append([]string{"EVALSHA"}, p.calls...) {
			reply, err := replies[next].Get()
			next++
			if err != nil {
				return couldNotLook(user, err)
			}
			name, _, _ := strings.Cut(call, " ")
			if text, err := reply.ToString(); err != nil || text != "OK" {
				missing = append(missing, name)
			} else if !slices.Contains(readCalls, name) {
				writes = true
			}
		}
		if len(missing) > 0 {
			findings = append(findings, Finding{SeverityWarning, "rights", p.pattern,
				"the user " + quoted(user) + " may not use " + strings.Join(missing, ", "), fix})
		}
	}
	if in.opt.ServiceUser == "" && (!writes || user == operateUser) {
		return []Finding{{SeverityNote, "rights", "all patterns",
			"the user " + quoted(user) + " is not the user of a service: the rights of the services were not checked",
			"name the user of the services: Options.ServiceUser, or redstartctl doctor --user"}}, nil
	}
	return findings, nil
}

// couldNotLook returns the finding of a user that may not ask for rights, or for a user that does
// not exist.
func couldNotLook(user string, err error) ([]Finding, error) {
	text := err.Error()
	switch {
	case errors.Is(err, fault.ErrDenied), strings.Contains(text, "unknown command"), strings.Contains(text, "unknown subcommand"):
		return []Finding{{SeverityNote, "rights", "all patterns", "the rights could not be checked: " + truncated(text),
			"ask with a user that has +acl|whoami and +acl|dryrun, such as redstart-inspect"}}, nil
	case strings.Contains(text, "not found"):
		return []Finding{{SeverityWarning, "rights", "all patterns", "the server has no user " + quoted(user),
			"name the user of the services as ACL USERS lists it"}}, nil
	}
	return nil, err
}
