package redstart_test

import (
	"archive/zip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// TestReleaseCanBeInstalled rehearses a release. scripts/release prepares a copy of the repository.
// The test publishes each module of the copy in a folder that the go command reads as a proxy. An
// empty module takes the library and an adapter from there, and go install takes redstartctl.
func TestReleaseCanBeInstalled(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierAll)
	const version = "v0.999.0"
	checkout, proxy, user, modules := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	output(t, ".", nil, "sh", "-c", `git ls-files -z | xargs -0 cp --parents -t "$0"`, checkout)
	output(t, checkout, nil, "git", "init", "-q")
	output(t, checkout, nil, "git", "add", "-A")
	output(t, checkout, nil, filepath.Join(checkout, "scripts", "release"), version)
	for module, mod := range publish(t, checkout, proxy, version) {
		if strings.Contains(mod, "replace") || strings.Contains(mod, "redstart v0.0.0") {
			t.Errorf("the go.mod of %s in a release:\n%s", module, mod)
		}
	}

	downloaded := "file://" + strings.TrimSpace(output(t, ".", nil, "go", "env", "GOMODCACHE")) + "/cache/download"
	others := strings.TrimSpace(output(t, ".", nil, "go", "env", "GOPROXY"))
	env := []string{
		"GOPROXY=file://" + proxy + "," + downloaded + "," + others, "GONOSUMDB=github.com/redstart-go/*",
		"GOMODCACHE=" + modules, "GOFLAGS=-modcacherw -trimpath", "GOWORK=off", "GOBIN=" + user,
	}
	writeFile(t, filepath.Join(user, "go.mod"), "module example.org/user\n\ngo 1.26.0\n")
	writeFile(t, filepath.Join(user, "main.go"), `package main

import (
	_ "github.com/redstart-go/redstart/adapters/gin"
	_ "github.com/redstart-go/redstart/cache"
)

func main() {}
`)
	const root = "github.com/redstart-go/redstart"
	output(t, user, env, "go", "get", root+"@"+version, root+"/adapters/gin@"+version)
	output(t, user, env, "go", "mod", "tidy")
	output(t, user, env, "go", "list", "-deps", ".")
	output(t, user, env, "go", "install", root+"/cmd/redstartctl@"+version)
	if help := output(t, user, nil, filepath.Join(user, "redstartctl"), "--help"); !strings.Contains(help, "doctor") {
		t.Errorf("the installed redstartctl prints %q", help)
	}
}

// publish writes each module of a checkout in the form of a module proxy. It returns their go.mod
// files by the path of the module.
func publish(t *testing.T, checkout, proxy, version string) map[string]string {
	t.Helper()
	files := strings.Fields(output(t, checkout, nil, "git", "ls-files"))
	roots := map[string]string{} // the path of a module by its folder
	for _, name := range files {
		if path.Base(name) == "go.mod" {
			line := regexp.MustCompile(`(?m)^module (\S+)$`).FindStringSubmatch(readFile(t, filepath.Join(checkout, name)))
			roots[path.Dir(name)] = line[1]
		}
	}
	mods := map[string]string{}
	for folder, module := range roots {
		versions := filepath.Join(proxy, module, "@v")
		if err := os.MkdirAll(versions, 0o755); err != nil {
			t.Fatal(err)
		}
		mods[module] = readFile(t, filepath.Join(checkout, folder, "go.mod"))
		writeFile(t, filepath.Join(versions, "list"), version+"\n")
		writeFile(t, filepath.Join(versions, version+".info"), `{"Version":"`+version+`"}`)
		writeFile(t, filepath.Join(versions, version+".mod"), mods[module])
		var zipped strings.Builder
		archive := zip.NewWriter(&zipped)
		for _, name := range files {
			if owner(roots, name) == folder {
				inside := strings.TrimPrefix(name, folder+"/")
				part, err := archive.Create(module + "@" + version + "/" + inside)
				_, err2 := io.WriteString(part, readFile(t, filepath.Join(checkout, name)))
				if err := errors.Join(err, err2); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := archive.Close(); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(versions, version+".zip"), zipped.String())
	}
	return mods
}

// owner returns the folder of the module that has a file.
func owner(roots map[string]string, file string) string {
	folder := path.Dir(file)
	for roots[folder] == "" {
		folder = path.Dir(folder)
	}
	return folder
}

// output runs a command and returns its output. A command that fails ends the test.
func output(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}
