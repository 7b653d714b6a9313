package inspect_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redstart-go/redstart"
	"github.com/redstart-go/redstart/inspect"
	"github.com/redstart-go/redstart/internal/rig"
)

// aclOfClients has the rules whose commands the client sends automatically: to connect, to follow a
// slot, and to load a script. MONITOR does not show all of them.
var aclOfClients = []string{
	"ping", "hello", "auth", "quit", "reset", "select", "readonly", "readwrite", "asking", "multi", "exec", "discard",
	"client|setname", "client|tracking", "client|caching", "client|no-evict", "cluster|slots", "cluster|shards",
	"eval", "evalsha_ro", "script|load", "script|exists",
	"subscribe", "ssubscribe", "unsubscribe", "sunsubscribe", "punsubscribe",
}

// aclOfSituations has the rules whose commands this test can't see, with the situation that needs
// each.
var aclOfSituations = map[string]string{
	"acl|dryrun":   "Doctor; MONITOR does not show commands of administrators",
	"xinfo|groups": "group.lua, for a partition of which the group has read nothing",
	"publish":      "a server without shard channels",
}

// rulesOf returns the commands that a file of deploy/acl allows.
func rulesOf(t *testing.T, file string) (rules []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "deploy", "acl", file))
	must(t, err)
	_, user, _ := strings.Cut(string(content), "\nuser ")
	for _, rule := range regexp.MustCompile(`\+([a-z_|-]+)`).FindAllStringSubmatch(user, -1) {
		rules = append(rules, rule[1])
	}
	if len(rules) < 20 {
		t.Fatalf("%s: %d rules", file, len(rules))
	}
	return rules
}

// flagsOf returns the flags of a command on a real server.
func flagsOf(t *testing.T, s *rig.Server, command string) []string {
	t.Helper()
	reply, err := s.Do("COMMAND", "INFO", command)
	must(t, err)
	info, ok := reply.([]any)
	if !ok || len(info) != 1 {
		t.Fatalf("COMMAND INFO %s: %v", command, reply)
	}
	parts, ok := info[0].([]any)
	if !ok || len(parts) < 3 {
		t.Fatalf("COMMAND INFO %s: %v", command, reply)
	}
	var flags []string
	for _, flag := range parts[2].([]any) {
		flags = append(flags, flag.(string))
	}
	return flags
}

// The user who may only read has no command that writes. The control: the user who repairs has.
func TestACLReadOnlyUserHasNoWrites(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	server := rig.Shared(t)
	for file, writes := range map[string]bool{"redstart-inspect.acl": false, "redstart-operate.acl": true} {
		var found []string
		for _, command := range rulesOf(t, file) {
			if slices.Contains(flagsOf(t, server, command), "write") {
				found = append(found, command)
			}
		}
		if len(found) > 0 != writes {
			t.Errorf("%s: the commands with the flag write are %v", file, found)
		}
	}
}

// Each rule of the two users has a caller: some reading call or some repair executes its command.
// No reading call executes a command that writes, also not in a script.
func TestACLRulesHaveCallers(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server, looks, repairs := shippedUsers(t)
	p := place{service: open(t, "redis://"+server.Addr()+"/", "app"), log: &auditLog{}}
	w := newWorld(t, p)
	keys := map[string]inspect.SessionKeys{"web": {Encryption: [][]byte{sessionKey}}}
	var err error
	p.looks, err = inspect.New(open(t, looks, "app"), inspect.Options{ReadOnly: true, SessionKeys: keys})
	must(t, err)
	p.repairs, err = inspect.New(open(t, repairs, "app"), inspect.Options{Actor: "ana", SessionKeys: keys})
	must(t, err)
	checkComplete(t, w.reads(p.looks), w.changes(p.repairs))

	for _, user := range []struct {
		name  string
		calls map[string]func(context.Context) error
	}{
		{"redstart-inspect", w.reads(p.looks)},
		{"redstart-operate", merged(w.reads(p.repairs), w.changes(p.repairs))},
	} {
		executed := executedBy(t, server, user.name, func() {
			for _, name := range callOrder(user.calls) {
				if err := user.calls[name](t.Context()); err != nil {
					t.Errorf("%s by %s: %v", name, user.name, err)
				}
			}
		})
		rules := rulesOf(t, user.name+".acl")
		for _, rule := range rules {
			if !executed[rule] && !slices.Contains(aclOfClients, rule) && aclOfSituations[rule] == "" {
				t.Errorf("%s.acl: no call executes %s", user.name, rule)
			}
		}
		for command := range executed {
			if user.name == "redstart-inspect" && slices.Contains(flagsOf(t, server, command), "write") {
				t.Errorf("a reading call executes %s, which writes", command)
			}
		}
	}
}

// A repair with the user who may only read is denied by the server. The error names the file with
// the rules.
func TestRepairsAreDeniedByTheServer(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	server, looks, _ := shippedUsers(t)
	p := place{service: open(t, "redis://"+server.Addr()+"/", "app"), log: &auditLog{}}
	w := newWorld(t, p)
	denied, err := inspect.New(open(t, looks, "app"), inspect.Options{Actor: "eve",
		SessionKeys: map[string]inspect.SessionKeys{"web": {Encryption: [][]byte{sessionKey}}}})
	must(t, err)
	for name, change := range w.changes(denied) {
		err := change(t.Context())
		if !errors.Is(err, redstart.ErrDenied) || !strings.Contains(err.Error(), "deploy/acl/redstart-operate.acl") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// callOrder returns the names of calls in an order in which each finds its object: those that
// remove everything come last.
func callOrder(calls map[string]func(context.Context) error) []string {
	var names, last []string
	for name := range calls {
		if strings.HasSuffix(name, "All") || strings.HasSuffix(name, "Clear") || strings.HasSuffix(name, "DropGroup") {
			last = append(last, name)
		} else {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Sort(last)
	slices.Reverse(last) // Events.RedriveAll before DropGroup and DropAll
	return append(names, last...)
}

func merged(a, b map[string]func(context.Context) error) map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{}
	for _, calls := range []map[string]func(context.Context) error{a, b} {
		for name, call := range calls {
			all[name] = call
		}
	}
	return all
}

// checkComplete checks that the calls are all exported methods that send commands.
func checkComplete(t *testing.T, calls ...map[string]func(context.Context) error) {
	t.Helper()
	all := merged(calls[0], calls[1])
	for _, part := range []any{&inspect.Inspector{}, &inspect.Caches{}, &inspect.Locks{}, &inspect.Limits{}, &inspect.Sessions{},
		&inspect.Events{}, &inspect.Idempotency{}} {
		kind := reflect.TypeOf(part)
		for i := range kind.NumMethod() {
			m := kind.Method(i)
			takesContext := m.Type.NumIn() > 1 && m.Type.In(1) == reflect.TypeFor[context.Context]()
			name := kind.Elem().Name() + "." + m.Name
			if takesContext && all[name] == nil && m.Name != "ScanKeys" && m.Name != "Repair" { // those of export_test.go
				t.Errorf("the test does not call %s", name)
			}
		}
	}
}

// executedBy returns the commands that the connections of a user executed while run ran, in the
// form of rules: also those of their scripts.
func executedBy(t *testing.T, s *rig.Server, user string, run func()) map[string]bool {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Write([]byte("MONITOR\r\n"))
	must(t, err)
	lines := bufio.NewReader(conn)
	_, err = lines.ReadString('\n') // +OK
	must(t, err)

	run()
	s.CLI("ECHO", "the end of the calls")
	var monitored []string
	for {
		line, err := lines.ReadString('\n')
		must(t, err)
		if strings.Contains(line, "the end of the calls") {
			break
		}
		monitored = append(monitored, line)
	}
	addresses := map[string]bool{}
	for _, client := range strings.Split(s.CLI("CLIENT", "LIST"), "\n") {
		if strings.Contains(client, " user="+user+" ") {
			addresses[regexp.MustCompile(`\baddr=(\S+)`).FindStringSubmatch(client)[1]] = true
		}
	}
	return commandsOf(t, monitored, addresses)
}

// commandsOf returns the commands in lines of MONITOR that some addresses sent. The line of a
// script precedes the lines of its commands.
func commandsOf(t *testing.T, lines []string, addresses map[string]bool) map[string]bool {
	t.Helper()
	form := regexp.MustCompile(`^\+\S+ \[\d+ (\S+)\] "([^"]*)"(?: "([^"]*)")?`)
	commands, sender := map[string]bool{}, ""
	for _, line := range lines {
		m := form.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("MONITOR: %q", line)
		}
		if m[1] != "lua" {
			sender = m[1]
		}
		if !addresses[sender] {
			continue
		}
		name := strings.ToLower(m[2])
		if slices.Contains([]string{"acl", "client", "cluster", "xinfo", "xgroup", "script"}, name) {
			name += "|" + strings.ToLower(m[3])
		}
		commands[name] = true
	}
	if len(commands) == 0 {
		t.Fatal("the user executed nothing: the search is broken")
	}
	return commands
}
