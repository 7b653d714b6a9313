package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// process has the servers and programs of this test process. There is one, because a test binary
// has one TestMain.
var process state

type state struct {
	mu      sync.Mutex
	running bool                 // inside Main
	dir     string               // directory of all servers, created on first use
	starter *starter             // starts children from one locked thread
	live    map[*Server]struct{} // not ended yet
	roles   map[string]func()
	lua     luaFiles

	// scripts that ran on embedded servers, and those that touched keys outside of KEYS, if this
	// run records them
	scripts, undeclared map[string]bool

	standalone shared[*Server]
	cluster    shared[*Cluster]
	sentinel   shared[*Sentinel]
	valkey     shared[*Server]
}

// Main runs the tests of a package and exits. In a spawned process it runs the role instead (see
// [Spawn]). After the tests it ends all servers and looks for leaked goroutines. It passes the
// options to goleak.
func Main(m *testing.M, options ...goleak.Option) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(runRole(role))
	}
	os.Exit(run(m, options))
}

func run(m *testing.M, options []goleak.Option) (code int) {
	process.mu.Lock()
	process.running = true
	process.mu.Unlock()
	defer process.end() // also after a panic in TestMain

	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code = m.Run()
	if err := process.review(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	process.end()
	reportLeft(os.Stderr)
	if err := leaked(options...); err != nil && code == 0 {
		fmt.Fprintf(os.Stderr, "rig: goroutines leaked by this package's tests:\n%v\n", err)
		code = 1
	}
	return code
}

// end stops all servers and removes their files.
func (p *state) end() {
	p.mu.Lock()
	live := make([]*Server, 0, len(p.live))
	for s := range p.live {
		live = append(live, s)
	}
	dir, starter := p.dir, p.starter
	p.dir, p.starter, p.running = "", nil, false
	p.mu.Unlock()

	for _, s := range live {
		s.end()
	}
	if starter != nil {
		starter.end()
	}
	if dir != "" {
		os.RemoveAll(dir)
	}
}

// Dir returns a new folder that exists as long as the test process. It is for files that several
// tests share, such as a program that is built once.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := process.serverDir("shared")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// serverDir creates a new directory for one server.
func (p *state) serverDir(name string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		return "", fmt.Errorf("rig: TestMain must call rig.Main: func TestMain(m *testing.M) { rig.Main(m) }")
	}
	if p.dir == "" {
		sweep()
		dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
		if err != nil {
			return "", err
		}
		p.dir = dir
	}
	return os.MkdirTemp(p.dir, name+"-")
}

const dirPrefix = "redstart-rig-"

// sweep removes the directories of test processes that ended without the end of Main.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		n, err := strconv.Atoi(pid)
		if err != nil || n <= 0 {
			continue
		}
		if syscall.Kill(n, 0) == syscall.ESRCH {
			os.RemoveAll(dir)
		}
	}
}

// start runs cmd, which ends with this process.
func (p *state) start(cmd *exec.Cmd) error {
	p.mu.Lock()
	if p.starter == nil {
		p.starter = newStarter()
	}
	s := p.starter
	p.mu.Unlock()
	return s.start(cmd)
}

func (p *state) add(s *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == nil {
		p.live = map[*Server]struct{}{}
	}
	p.live[s] = struct{}{}
}

func (p *state) remove(s *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.live, s)
}

// shared starts a server on first use, for all tests of the process.
type shared[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (s *shared[T]) get(t testing.TB, start func() (T, error)) T {
	t.Helper()
	s.once.Do(func() { s.value, s.err = start() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.value
}
