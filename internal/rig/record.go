package rig

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// recordVariable names a directory. Each package writes to it the scripts that its embedded servers
// executed; in the tier all also the commands that its shared servers executed. A file has one name
// per line. scripts/test compares the scripts with the .lua files, and the commands with the rules
// of the shipped ACL users.
const recordVariable = "REDSTART_RECORD"

// expectedDenials has the denials that the suites provoke as a shipped user: the user, and the
// begin of the command, key or channel.
var expectedDenials = []string{"redstart: scan", "redstart: other-", "redstart-scan: other-"}

// review writes what this test process has recorded. In the tier all it also reads the ACL LOG of
// the shared servers before they end. It returns an error if a server denied a shipped user a
// command.
func (p *state) review() error {
	commands := map[string]bool{}
	var errs []error
	if Includes(TierAll) {
		errs = p.reviewServers(commands)
	}
	if dir := os.Getenv(recordVariable); dir != "" {
		p.mu.Lock()
		scripts, undeclared := maps.Clone(p.scripts), maps.Clone(p.undeclared)
		p.mu.Unlock()
		errs = append(errs, writeNames(dir, "commands", commands), writeNames(dir, "scripts", scripts),
			writeNames(dir, "undeclared", undeclared))
	}
	return errors.Join(errs...)
}

// reviewServers adds the commands that the shared servers executed.
func (p *state) reviewServers(commands map[string]bool) (errs []error) {
	p.mu.Lock()
	var servers []*Server
	for s := range p.live {
		if s.t == nil {
			servers = append(servers, s)
		}
	}
	p.mu.Unlock()

	for _, s := range servers {
		if strings.HasPrefix(s.name, "sentinel") {
			continue // a sentinel has other commands and no data of users
		}
		switch denied, err := s.denials(); {
		case err != nil:
			errs = append(errs, fmt.Errorf("rig: %s: ACL LOG: %w", s.name, err))
		case len(denied) > 0:
			errs = append(errs, fmt.Errorf("rig: %s: the shipped ACL users were denied %v", s.name, denied))
		}
		if err := s.addCommands(commands); err != nil {
			errs = append(errs, fmt.Errorf("rig: %s: commandstats: %w", s.name, err))
		}
	}
	return errs
}

// denials returns the denials of the shipped users in ACL LOG, without the expected ones.
func (s *Server) denials() (denied []string, err error) {
	reply, err := s.Do("ACL", "LOG", "10000")
	if err != nil {
		return nil, err
	}
	entries, _ := reply.([]any)
	for _, entry := range entries {
		fields, _ := entry.([]any)
		of := map[string]string{}
		for i := 0; i+1 < len(fields); i += 2 {
			of[text(fields[i])] = text(fields[i+1])
		}
		if user := of["username"]; user == "redstart" || user == "redstart-scan" {
			what := user + ": " + of["object"]
			if !slices.ContainsFunc(expectedDenials, func(begins string) bool { return strings.HasPrefix(what, begins) }) {
				denied = append(denied, what+" ("+of["reason"]+", "+of["context"]+")")
			}
		}
	}
	return denied, nil
}

// addCommands adds the names of the commands that the server has executed, in the form of ACL
// rules.
func (s *Server) addCommands(to map[string]bool) error {
	reply, err := s.Do("INFO", "commandstats")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text(reply)) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if ok && !strings.HasPrefix(rest, "0,") {
			to[name] = true
		}
	}
	return nil
}

// writeNames writes a file of a package: one name per line, no file for no names.
func writeNames(dir, kind string, names map[string]bool) error {
	if len(names) == 0 {
		return nil
	}
	f, err := os.CreateTemp(dir, filepath.Base(os.Args[0])+"-*."+kind)
	if err != nil {
		return err
	}
	for name := range names {
		if _, err := fmt.Fprintln(f, name); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}
