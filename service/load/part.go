package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// partVariable makes this program a part of a measurement: the shop, or the delay of the database.
// A part reads its configuration and then commands from standard input, answers each with a line of
// JSON, and ends with its input. So it never outlives the measurement.
const partVariable = "REDSTART_LOAD_PART"

// part runs a part, and reports whether name is one.
func part(name string) bool {
	var err error
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	switch name {
	case "":
		return false
	case "shop":
		err = shopPart(in, out)
	case "delay":
		err = delayPart(in, out)
	default:
		err = fmt.Errorf("%s=%q names no part", partVariable, name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", name+":", err)
		os.Exit(1)
	}
	return true
}

// process is a part that runs.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startPart starts a part with its configuration, and stores what it answers in ready.
func startPart(name string, config, ready any) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(program)}
	p.cmd.Env = append(os.Environ(), partVariable+"="+name)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.ask(config, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("the part %q does not start: %w", name, err), p.stop())
	}
	return p, nil
}

func (p *process) ask(question, answer any) error {
	if err := json.NewEncoder(p.in).Encode(question); err != nil {
		return err
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, answer)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the part, and returns its error.
func (p *process) stop() error {
	return errors.Join(p.in.Close(), p.cmd.Wait())
}

// serve answers each question until the input ends.
func serve[Q, A any](in *json.Decoder, out *json.Encoder, answer func(Q) A) error {
	for {
		var q Q
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := out.Encode(answer(q)); err != nil {
			return err
		}
	}
}
