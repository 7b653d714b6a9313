package inspect

import (
	"context"
	"errors"
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
}

// rights checks the rights of a user, by ACL DRYRUN. It executes none of the calls.
func (in *Inspector) rights(ctx context.Context) ([]Finding, error) {
	user := in.opt.ServiceUser
	if user == "" {
		reply, err := in.core.Do(ctx, core.ReadAt("", "ACL", "WHOAMI"))
		if err != nil {
			return couldNotLook(err)
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
			args := append([]string{"DRYRUN", user}, strings.Fields(strings.Replace(call, "KEY", space.Key(""), 1))...)
			cmds = append(cmds, core.ReadAt("", "ACL", args...))
		}
	}
	replies := in.core.DoMulti(ctx, cmds...)

	findings, next := []Finding{}, 0
	for _, p := range patternRights {
		var missing []string
		for _, call := range append([]string{"EVALSHA"}, p.calls...) {
			reply, err := replies[next].Get()
			next++
			if err != nil {
				return couldNotLook(err)
			}
			if text, err := reply.ToString(); err != nil || text != "OK" {
				name, _, _ := strings.Cut(call, " ")
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			findings = append(findings, Finding{SeverityWarning, "rights", p.pattern,
				"the user " + quoted(user) + " may not use " + strings.Join(missing, ", "),
				"give the user the rules of deploy/acl/redstart.acl"})
		}
	}
	if in.opt.ServiceUser == "" && len(findings) >= len(patternRights)/2 {
		return []Finding{{SeverityNote, "rights", "all patterns",
			"the user " + quoted(user) + " is not the user of a service: the rights of the services were not checked",
			"name the user of the services: Options.ServiceUser, or redstartctl doctor --user"}}, nil
	}
	return findings, nil
}

// couldNotLook returns the finding of a user that may not ask for rights.
func couldNotLook(err error) ([]Finding, error) {
	unknown := errors.Is(err, fault.ErrDenied) || strings.Contains(err.Error(), "unknown command") ||
		strings.Contains(err.Error(), "unknown subcommand") || strings.Contains(err.Error(), "not found")
	if !unknown {
		return nil, err
	}
	return []Finding{{SeverityNote, "rights", "all patterns", "the rights could not be checked: " + truncated(err.Error()),
		"ask with a user that has +acl|whoami and +acl|dryrun, such as redstart-inspect"}}, nil
}
