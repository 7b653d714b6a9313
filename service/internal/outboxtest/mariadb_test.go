package outboxtest

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/go-sql-driver/mysql"

	"github.com/redstart-go/redstart/events"
	"github.com/redstart-go/redstart/internal/rig"
)

// mariaScript runs a MariaDB in a folder until standard input ends. It ends when the process that
// holds its other end exits.
const mariaScript = `
trap '' INT TERM
dir=$1 user=$2
mariadb-install-db --no-defaults --datadir="$dir/data" --user="$user" --auth-root-authentication-method=normal \
  --skip-test-db >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
mariadbd --no-defaults --datadir="$dir/data" --user="$user" --socket="$dir/s" --pid-file="$dir/pid" --skip-networking \
	--innodb-buffer-pool-size=32M --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=0 >"$dir/log" 2>&1 &
server=$!
until [ -S "$dir/s" ]; do kill -0 $server || { cat "$dir/log"; exit 1; }; sleep 0.1; done
echo ready
read -r _
kill -KILL $server
wait $server 2>/dev/null
rm -rf "$dir"
`

var (
	maria       = sync.OnceValues(startMaria)
	mariaNumber atomic.Int64
	mariaHold   *os.File // the server runs while it is open, at most until this process ends
)

// startMaria returns the socket of the MariaDB of this process.
func startMaria() (socket string, err error) {
	if _, err := exec.LookPath("mariadbd"); err != nil {
		return "", fmt.Errorf("MariaDB is missing; install it: apt-get update && apt-get install -y mariadb-server: %w", err)
	}
	dir, err := os.MkdirTemp("", "redstart-maria") // short, because the path of a socket has at most 107 bytes
	if err != nil {
		return "", err
	}
	owner, err := user.Current()
	if err == nil && owner.Uid == "0" { // the server does not run as root
		if owner, err = user.Lookup("mysql"); err == nil {
			err = give(dir, owner)
		}
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}

	held, hold, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer held.Close()
	mariaHold = hold
	cmd := exec.Command("sh", "-c", mariaScript, "sh", dir, owner.Username)
	cmd.Stdin = held
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	said := ""
	for lines := bufio.NewScanner(out); lines.Scan(); said += lines.Text() + "\n" {
		if lines.Text() == "ready" {
			return filepath.Join(dir, "s"), nil
		}
	}
	return "", fmt.Errorf("MariaDB did not start:\n%s", said)
}

func give(dir string, to *user.User) error {
	uid, err := strconv.Atoi(to.Uid)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, -1)
}

// mariaDB creates a database for one test on MariaDB, with the dialect of MySQL.
func mariaDB(t testing.TB) *database {
	t.Helper()
	rig.Need(t, rig.TierAll)
	socket, err := maria()
	must(t, err)
	name := fmt.Sprint("test", mariaNumber.Add(1))
	admin, err := sql.Open("mysql", "root@unix("+socket+")/")
	must(t, err)
	defer admin.Close()
	_, err = admin.ExecContext(t.Context(), "CREATE DATABASE "+name)
	must(t, err)

	db, err := sql.Open("mysql", "root@unix("+socket+")/"+name)
	must(t, err)
	t.Cleanup(func() { db.Close() })
	return created(t, &database{DB: db, outbox: events.SQL(db, events.MySQL), dialect: events.MySQL})
}
