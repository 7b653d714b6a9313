// Package postgres starts a PostgreSQL of its own, for tests and for trying things out: empty, on a unix socket in a
// temporary folder, gone with the process that started it.
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

// ErrMissing says that PostgreSQL is not installed, and how to install it.
var ErrMissing = errors.New("postgres: PostgreSQL is missing; install it: apt-get update && apt-get install -y postgresql")

const startTimeout = time.Minute

// Server is a running PostgreSQL.
type Server struct {
	dir  string
	cmd  *exec.Cmd
	hold *os.File // while it is open the server runs
}

// Start starts a server. It ends with Close, and also when this process ends, however it does.
func Start() (_ *Server, err error) {
	pgctl, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "redstart-pg") // short: a socket's path has 107 bytes at most
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
	return fmt.Errorf("the server did not start:\n%s", strings.Join(all, "\n"))
}

// URL is that of a database on the server; "postgres" is there from the start.
func (s *Server) URL(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {s.dir}, "user": {"shop"}}.Encode()
}

// Create makes an empty database, whose name is a plain identifier, and returns its URL.
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

// Close ends the server and removes its folder.
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

// find returns the newest pg_ctl: Debian keeps it off PATH.
func find() (string, error) {
	if found, err := exec.LookPath("pg_ctl"); err == nil {
		return found, nil
	}
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
	if err != nil || len(installed) == 0 {
		return "", errors.Join(ErrMissing, err)
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(strings.Split(path, "/")[4]) // 0 for none of Debian's is as good as any
		return n
	}
	return slices.MaxFunc(installed, func(a, b string) int { return version(a) - version(b) }), nil
}

func give(dir, name string) error {
	to, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("postgres: as root it runs as the user %s: %w", name, err)
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
