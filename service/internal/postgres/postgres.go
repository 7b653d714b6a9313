// Package postgres starts a PostgreSQL for tests and trials. The server is empty, listens on a unix
// socket in a temporary folder, and is deleted when the process that started it ends.
package postgres

import (
	"bufio"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

//go:embed server.sh
var script string

// ErrMissing means that PostgreSQL is not installed. Its text has the command that installs it.
var ErrMissing = errors.New("postgres: PostgreSQL is missing; install it: apt-get update && apt-get install -y postgresql")

const startTimeout = time.Minute

// Server is a running PostgreSQL.
type Server struct {
	dir  string
	cmd  *exec.Cmd
	hold *os.File // the server runs while it is open
}

// Start starts a server. The server ends with Close, and when this process ends for any reason.
func Start() (_ *Server, err error) {
	pgctl, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redstart-pg") // short, because the path of a socket has at most 107 bytes
	if err != nil {
		return nil, err
	}
	command := []string{"sh", "-c", script, "sh", pgctl, dir}
	if os.Geteuid() == 0 { // PostgreSQL refuses to run as root
		if err := give(dir, "postgres"); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		command = append([]string{"runuser", "-u", "postgres", "--"}, command...)
	}
	s := &Server{dir: dir, cmd: exec.Command(command[0], command[1:]...)}
	if err := s.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("postgres: start: %w", err), s.Close())
	}
	return s, nil
}

func (s *Server) start() error {
	held, hold, err := os.Pipe()
	if err != nil {
		return err
	}
	defer held.Close()
	s.hold = hold
	said, say, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.dir, held, say, say
	err = s.cmd.Start()
	say.Close()
	if err != nil {
		return err
	}
	if err := said.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	var all []string
	for lines := bufio.NewScanner(said); lines.Scan(); all = append(all, lines.Text()) {
		if lines.Text() == "ready" {
			return nil
		}
	}
	return fmt.Errorf("PostgreSQL did not start:\n%s", strings.Join(all, "\n"))
}

// URL returns the URL of a database. The database "postgres" exists from the start.
func (s *Server) URL(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {s.dir}, "user": {"shop"}}.Encode()
}

// PID returns the id of the server's process. The processes of its connections are its children.
func (s *Server) PID() (int, error) {
	content, err := os.ReadFile(filepath.Join(s.dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, fmt.Errorf("postgres: pid: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("postgres: pid: %w", err)
	}
	return pid, nil
}

// Create creates an empty database and returns its URL. The name must be a plain identifier.
func (s *Server) Create(ctx context.Context, database string) (_ string, err error) {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return "", fmt.Errorf("postgres: create: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `CREATE DATABASE "`+database+`"`); err != nil {
		return "", fmt.Errorf("postgres: create: %w", err)
	}
	return s.URL(database), nil
}

// Close stops the server and deletes its folder.
func (s *Server) Close() error {
	var err error
	if s.hold != nil {
		err = s.hold.Close()
	}
	if s.cmd.Process != nil {
		err = errors.Join(err, s.cmd.Wait())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// find returns the path of the newest pg_ctl. Debian installs it outside of PATH.
func find() (string, error) {
	if found, err := exec.LookPath("pg_ctl"); err == nil {
		return found, nil
	}
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
	if err != nil || len(installed) == 0 {
		return "", errors.Join(ErrMissing, err)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // 0 if the path is not Debian's
		return n
	}
	return slices.MaxFunc(installed, func(a, b string) int { return version(a) - version(b) }), nil
}

func give(dir, name string) error {
	to, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("postgres: as root it needs the user %s: %w", name, err)
	}
	uid, err := strconv.Atoi(to.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(to.Gid)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}
