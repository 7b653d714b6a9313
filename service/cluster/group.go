package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
)

// group is a number of programs that end with this process, however it ends.
type group struct{ keepers []keeper }

// keeper is a shell that ends its program when the pipe to it is closed: by us, or with us.
type keeper struct {
	cmd  *exec.Cmd
	hold io.Closer
	read chan struct{} // closed when all that the program said is read
}

// Ctrl-C reaches the shell and its program too, but their end is ours to bring about, in order. A Redis that writes its first AOF after a
// synchronization refuses to end ("Writing initial AOF, can't exit") and runs on: it is asked again.
const keep = `trap '' INT
exec 3<&0
"$@" 3<&- & child=$!
(read -r _ <&3; while kill -TERM $child 2>/dev/null; do sleep 0.5; done) &
exec 3<&- <&-
wait $child`

// start runs a program in dir and returns the lines that it says on standard output; they are dropped when nobody reads.
func (g *group) start(dir, name string, args ...string) (<-chan string, error) {
	cmd := exec.Command("sh", append([]string{"-c", keep, "sh", name}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines, read := make(chan string, 100), make(chan struct{})
	g.keepers = append(g.keepers, keeper{cmd, hold, read})
	go func() {
		defer close(read)
		defer close(lines)
		for scan := bufio.NewScanner(said); scan.Scan(); {
			select {
			case lines <- scan.Text():
			default:
			}
		}
	}()
	return lines, nil
}

// end stops all and waits for them.
func (g *group) end() error {
	for _, k := range g.keepers {
		_ = k.hold.Close() // an error means that it has ended already
	}
	var err error
	for _, k := range g.keepers {
		<-k.read
		var exit *exec.ExitError
		if waitErr := k.cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
			err = errors.Join(err, waitErr)
		}
	}
	return err
}
