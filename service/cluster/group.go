package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
)

// group is a number of programs that end when this process ends, for any reason.
type group struct{ supervisors []supervisor }

// supervisor is a shell that ends its program when the pipe to it is closed. The end of this
// process closes the pipe.
type supervisor struct {
	cmd  *exec.Cmd
	hold io.Closer
	read chan struct{} // closed when the output of the program has been read
}

// The shell ignores Ctrl-C, because this process stops the programs in order. A Redis that writes
// its first AOF after a synchronization refuses to stop ("Writing initial AOF, can't exit"). So the
// shell asks again. synchronization refuses to end ("Writing initial AOF, can't exit") and runs on:
// it is asked again.
const keep = `trap '' INT
exec 3<&0
"$@" 3<&- & child=$!
(read -r _ <&3; while kill -TERM $child 2>/dev/null; do sleep 0.5; done) &
exec 3<&- <&-
wait $child`

// start runs a program in dir and returns the lines of its standard output. Lines that are not read
// are dropped.
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
	g.supervisors = append(g.supervisors, supervisor{cmd, hold, read})
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

// end stops all programs and waits for them.
func (g *group) end() error {
	for _, k := range g.supervisors {
		_ = k.hold.Close() // an error means that the program has ended
	}
	var err error
	for _, k := range g.supervisors {
		<-k.read
		var exit *exec.ExitError
		if waitErr := k.cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
			err = errors.Join(err, waitErr)
		}
	}
	return err
}
