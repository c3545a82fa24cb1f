package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// apart is work that hostile input can make end the process that does it: it is done in a process of its own, of this program, with limits. What it
// takes is one argument and stdin, what it answers is stdout.
type apart struct {
	verb    string        // the program's first argument
	timeout time.Duration // after it the process is killed
	env     []string      // all that it has
	main    func(argument string, in io.Reader, out io.Writer) error
}

// errTooLong is returned where work apart has not ended within its timeout.
var errTooLong = errors.New("it takes too long")

// worksApart does the work that the arguments name, if they name one, and tells whether they do.
func worksApart(args []string, works ...*apart) (done bool, err error) {
	for _, w := range works {
		if len(args) == 3 && args[1] == w.verb {
			return true, w.main(args[2], os.Stdin, os.Stdout)
		}
	}
	return false, nil
}

// run has the work done. Errors: the cause of ctx, errTooLong, *exec.ExitError with what the process said, and that of starting it.
func (w *apart) run(ctx context.Context, argument string, in []byte) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, self, w.verb, argument)
	cmd.Env = w.env
	cmd.Stdin = bytes.NewReader(in)
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := runCompiler(cmd)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case limited.Err() != nil:
		return nil, errTooLong
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(said))
	}
	return out.Bytes(), nil
}
