package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const pages = "../../docs/redstartctl"

// docs/redstartctl has one page for each verb, written from its help. make docs writes them.
func TestDocsPagesOfVerbs(t *testing.T) {
	t.Parallel()
	a := &app{stdout: io.Discard, stderr: io.Discard}
	want := map[string]string{}
	addPages(a.root(), want)

	if update {
		if err := os.RemoveAll(pages); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(pages, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(filepath.Join(pages, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(pages, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if want[filepath.Base(file)] == "" {
			t.Errorf("%s has no verb: run make docs", file)
		}
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(pages, name))
		if err != nil || !bytes.Equal(got, []byte(text)) {
			t.Errorf("%s differs from the help of its verb (%v): run make docs", name, err)
		}
	}
}

// addPages adds the page of a command, and of the commands below it.
func addPages(cmd *cobra.Command, all map[string]string) {
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	if cmd.Parent() == nil {
		name = "README"
	}
	all[name+".md"] = page(cmd)
	for _, below := range cmd.Commands() {
		if below.Name() != "help" && below.Name() != "completion" {
			addPages(below, all)
		}
	}
}

func page(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n", cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(&b, "\n%s\n", cmd.Long)
	}
	if cmd.Runnable() && !cmd.HasSubCommands() {
		fmt.Fprintf(&b, "\n```sh\n%s\n```\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n| verb | what it does |\n|---|---|\n")
		for _, below := range cmd.Commands() {
			if below.Name() != "help" && below.Name() != "completion" {
				link := strings.ReplaceAll(below.CommandPath(), " ", "-") + ".md"
				fmt.Fprintf(&b, "| [%s](%s) | %s |\n", below.Name(), link, below.Short)
			}
		}
	}
	if flags := ownFlags(cmd); flags != "" {
		b.WriteString("\n| flag | what it does |\n|---|---|\n" + flags)
	}
	if cmd.Parent() == nil {
		b.WriteString("\n`redstartctl completion bash`, `zsh`, `fish` and `powershell` write the completion of a shell.\n")
	} else {
		b.WriteString("\nThe flags of all verbs are on the page [redstartctl](README.md).\n")
	}
	return b.String()
}

// ownFlags returns the rows of the flags that a command does not share with all verbs.
func ownFlags(cmd *cobra.Command) string {
	var b strings.Builder
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) { writeFlag(&b, f) })
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) {
		if cmd.Root().PersistentFlags().Lookup(f.Name) == nil {
			writeFlag(&b, f)
		}
	})
	return b.String()
}

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	if f.Name == "help" {
		return
	}
	kind, usage := pflag.UnquoteUsage(f)
	fmt.Fprintf(b, "| `--%s` | %s", strings.TrimSpace(f.Name+" "+kind), usage)
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0s" && f.DefValue != "0" {
		fmt.Fprintf(b, " (default %s)", f.DefValue)
	}
	b.WriteString(" |\n")
}
