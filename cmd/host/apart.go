package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// apart is work that hostile input can make end the process that does it: it is done in a process of its own, of this program, with limits. What it
// takes is one argument and stdin, what it answers is stdout.
//
// On stdin are the length of the input in 8 bytes, little-endian, and the input. Then nothing more comes, and stdin stays open as long as the host is interested:
// its end, also that by the host's death, ends the process.
type apart struct {
	verb    string        // the program's first argument
	timeout time.Duration // after it the process is killed
	env     []string      // all that it has
	main    func(argument string, in io.Reader, out io.Writer) error
}

// errTooLong is returned where work apart has not ended within its timeout, errEnded where its process was ended by the system or by somebody: not by its input.
var (
	errTooLong = errors.New("it takes too long")
	errEnded   = errors.New("its process was ended")
)

// worksApart does the work that the arguments name, if they name one, and tells whether they do.
func worksApart(args []string, works ...*apart) (done bool, err error) {
	for _, w := range works {
		if len(args) == 3 && args[1] == w.verb {
			return true, w.work(args[2], os.Stdin, os.Stdout)
		}
	}
	return false, nil
}

// work is the process's. Signals are for the host, which ends it when it should end; one that a terminal or a supervisor sends to both would look like
// the input's fault.
func (w *apart) work(argument string, in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	var size [8]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return err
	}
	var input bytes.Buffer
	if _, err := io.CopyN(&input, in, int64(binary.LittleEndian.Uint64(size[:]))); err != nil {
		return err
	}
	go func() { // until the process ends
		_, _ = io.Copy(io.Discard, in)
		os.Exit(exitFailure)
	}()
	return w.main(argument, &input, out)
}

// run has the work done. Errors: the cause of ctx, errTooLong, errEnded, *exec.ExitError with what the process said, and that of starting it.
func (w *apart) run(ctx context.Context, argument string, in []byte) ([]byte, error) {
	self, err := thisProgram()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, self, w.verb, argument)
	cmd.Env = w.env
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = feed(cmd, in)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case limited.Err() != nil:
		return nil, errTooLong
	case endedFromOutside(err):
		return nil, fmt.Errorf("%w: %s", errEnded, err)
	case err != nil && said.Len() > 0:
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	case err != nil:
		return nil, err
	}
	return out.Bytes(), nil
}

// faults are the signals by which a process ends of what it does itself.
var faults = []syscall.Signal{syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS}

// endedFromOutside is whether a process has ended by a signal that was not its own doing. The system's way to get memory back is SIGKILL; the limit that a process has of
// its own makes it fail otherwise.
func endedFromOutside(err error) bool {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && !slices.Contains(faults, status.Signal())
}

// feed runs a process with that input, and does not end its stdin before the process has ended.
func feed(cmd *exec.Cmd, in []byte) error {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		_, err := stdin.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(in))))
		if err == nil {
			_, _ = stdin.Write(in) // where it fails, the process has ended
		}
	}()
	err = cmd.Wait() // closes stdin
	<-fed
	return err
}

// thisProgram is the file that this process runs. It may have been replaced by a newer version, or removed, since: Linux knows it still.
func thisProgram() (string, error) {
	const running = "/proc/self/exe"
	if goruntime.GOOS == "linux" {
		if _, err := os.Stat(running); err == nil {
			return running, nil
		}
	}
	return os.Executable()
}
