package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/redstart-go/redstart/internal/script"
)

// UndeclaredKeys returns one text for each script of the library that touched a key which is not in
// KEYS, although its first line is not script.UndeclaredKeys. Scripts that have no .lua file belong
// to a test and may do so.
func UndeclaredKeys(scripts *script.Recorder) (problems []string, err error) {
	for source, key := range scripts.Undeclared() {
		if script.MayTouchUndeclared(source) {
			continue
		}
		name, err := scriptFile(source)
		if err != nil {
			return nil, err
		}
		if name != "" {
			problems = append(problems, fmt.Sprintf("%s touches the key %q, which is not in KEYS: "+
				"add the key to KEYS, or begin the script with script.UndeclaredKeys", name, key))
		}
	}
	slices.Sort(problems)
	return problems, nil
}

// scriptFile returns the .lua file whose text ends a script, relative to the root, or "". A script
// consists of several files, and the last one is its own.
func scriptFile(source string) (string, error) {
	files, err := process.lua.read()
	if err != nil {
		return "", err
	}
	for file, text := range files {
		if strings.HasSuffix(source, text) {
			return file, nil
		}
	}
	return "", nil
}

// luaFiles has the text of each .lua file of the library, by its path from the root.
type luaFiles struct {
	once  sync.Once
	files map[string]string
	err   error
}

func (l *luaFiles) read() (map[string]string, error) {
	l.once.Do(func() {
		root := repository()
		paths, err := filepath.Glob(filepath.Join(root, "*", "*.lua"))
		if err != nil {
			l.err = err
			return
		}
		l.files = make(map[string]string, len(paths))
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				l.err = err
				return
			}
			l.files[filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)] = string(text)
		}
	})
	return l.files, l.err
}

// record notes which scripts ran, and which of them touched keys outside of KEYS, if this run of
// the tests records them.
func (p *state) record(scripts *script.Recorder) error {
	if os.Getenv(recordVariable) == "" {
		return nil
	}
	undeclared := scripts.Undeclared()
	for _, source := range scripts.Ran() {
		name, err := scriptFile(source)
		if err != nil {
			return err
		}
		if name == "" {
			continue
		}

		p.mu.Lock()
		if p.scripts == nil {
			p.scripts, p.undeclared = map[string]bool{}, map[string]bool{}
		}
		p.scripts[name] = true
		if _, touched := undeclared[source]; touched {
			p.undeclared[name] = true
		}
		p.mu.Unlock()
	}
	return nil
}
