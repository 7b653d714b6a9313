package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/redstart-go/redstart/internal/rig"
)

// repairVerbs are the verbs that change data.
var repairVerbs = []string{
	"cache clear", "cache delete", "cache expire", "cache invalidate", "events dead drop", "events dead redrive",
	"events drop-group", "events pause", "events resume", "idempotency forget", "limit reset", "lock break", "session revoke",
}

// A verb is read-only unless it is one of the repairs, and a repair needs --yes. Without it, no
// connection is opened.
func TestRepairsNeedYes(t *testing.T) {
	t.Setenv("REDIS_URL", "redis://127.0.0.1:1/0")
	var refused []string
	for _, name := range leaves((&app{}).root(), "") {
		if name == "console" { // its --yes is optional: see TestConsoleNeedsItsKeyAndYes
			continue
		}
		var out bytes.Buffer
		code := run(t.Context(), append(strings.Fields(name), arguments(name)...), &out, &out)
		if strings.Contains(out.String(), name+" changes data: add --yes") {
			refused = append(refused, name)
			if code != exitFindings {
				t.Errorf("%s: exit code %d", name, code)
			}
		} else if code != exitFailed || !strings.Contains(out.String(), "127.0.0.1:1") {
			t.Errorf("%s without --yes: exit code %d, %s", name, code, out.String())
		}
	}
	slices.Sort(refused)
	if !slices.Equal(refused, repairVerbs) {
		t.Errorf("the verbs that need --yes are %q, want %q", refused, repairVerbs)
	}
}

// A misspelled verb is an error and not a page of help: a script must not take it for a success.
func TestUnknownVerbsAreErrors(t *testing.T) {
	t.Parallel()
	for args, code := range map[string]int{
		"nosuch": exitFailed, "lock brake invoice:42 --yes": exitFailed, "events redrive orders mail --yes": exitFailed,
		"events dead nosuch": exitFailed, "lock": 0, "events dead": 0,
	} {
		var out bytes.Buffer
		if got := run(t.Context(), strings.Fields(args), &out, &out); got != code {
			t.Errorf("%s: exit code %d, want %d: %.200s", args, got, code, out.String())
		} else if code == exitFailed && !strings.Contains(out.String(), "unknown command") {
			t.Errorf("%s: %.200s", args, out.String())
		}
	}
}

// leaves returns the verbs that do something, with the names of their groups.
func leaves(cmd *cobra.Command, prefix string) (all []string) {
	for _, below := range cmd.Commands() {
		name := strings.TrimSpace(prefix + " " + below.Name())
		if below.Name() == "completion" || below.Name() == "help" {
			continue
		}
		if below.HasSubCommands() {
			all = append(all, leaves(below, name)...)
		} else {
			all = append(all, name)
		}
	}
	return all
}

// arguments returns as many arguments as a verb needs.
func arguments(name string) []string {
	cmd, _, err := (&app{}).root().Find(strings.Fields(name))
	if err != nil {
		return nil
	}
	var args []string
	for cmd.Args != nil && cmd.Args(cmd, args) != nil && len(args) < 5 {
		args = append(args, "x")
	}
	return args
}

// With --read-only, a repair is refused by the Inspector, also with --yes.
func TestReadOnlyRefusesEachRepair(t *testing.T) {
	t.Parallel()
	engine := rig.Embedded(t)
	for _, name := range repairVerbs {
		args := append(strings.Fields(name), arguments(name)...)
		if name == "session revoke" {
			args = append(args, "id")
		}
		if strings.HasPrefix(name, "events dead") {
			args = append(args, "0.1-1")
		}
		var out bytes.Buffer
		code := run(t.Context(), append(args, "--url", engine.URL(), "--yes", "--read-only"), &out, &out)
		if code != exitFindings || !strings.Contains(out.String(), "read-only") {
			t.Errorf("%s: exit code %d, %s", name, code, out.String())
		}
	}
}

// The REDIS_ variables select the server and the namespace as they do for services. --url and
// --namespace win.
func TestFlagsWinOverTheEnvironment(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	s, namespace := rig.Shared(t), rig.Prefix(t)
	users := newUsers(t, s.URL(), namespace)
	must(t, users.Set(t.Context(), "42", person{"Ana"}))
	right, wrong := serverEnv(s.URL(), namespace), serverEnv("redis://127.0.0.1:1/0", "other")
	for _, one := range []struct {
		env   []string
		flags []string
		code  int
		found bool
	}{
		{right, nil, exitFine, true},
		{right, []string{"--namespace", "other"}, exitFine, false},
		{wrong, nil, exitFailed, false},
		{wrong, []string{"--url", s.URL()}, exitFine, false},
		{wrong, []string{"--url", s.URL(), "--namespace", namespace}, exitFine, true},
		{append(slices.Clone(right), "REDIS_COMMAND_TIMEOUT=soon"), nil, exitFailed, false},
	} {
		r := execute(t, one.env, append([]string{"cache", "explain", "users", "42"}, one.flags...)...)
		if found := strings.Contains(r.stdout, "fresh"); r.code != one.code || found != one.found {
			t.Errorf("%q %q: exit code %d, %s%s", one.env[:2], one.flags, r.code, r.stdout, r.stderr)
		}
	}
}

// Each shell has a completion, and it knows the verbs. It needs no server.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out bytes.Buffer
		code := run(t.Context(), []string{"completion", shell}, &out, &out)
		if code != exitFine || !strings.Contains(out.String(), "redstartctl") {
			t.Errorf("%s: exit code %d, %.200s", shell, code, out.String())
		}
	}
	for args, want := range map[string][]string{"lock": {"break", "list", "show"}, "": {"cache", "doctor", "events", "idempotency"}} {
		var out, stderr bytes.Buffer
		run(t.Context(), append(append([]string{"__complete"}, strings.Fields(args)...), ""), &out, &stderr)
		for _, verb := range want {
			if !strings.Contains("\n"+out.String(), "\n"+verb) {
				t.Errorf("the completion of %q lacks %s: %s", args, verb, out.String())
			}
		}
	}
}
