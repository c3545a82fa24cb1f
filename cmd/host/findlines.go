package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// linesVerb makes this program find lines of a module's source, from stdin to stdout: a process of its own, because hostile debug information of some
// hundred bytes makes the library that reads it ask for terabytes of memory, which ends the process.
const linesVerb = "find-lines"

// What a finder of lines may take.
const (
	linesTimeout = 5 * time.Second
	linesMemory  = 1 << 30
)

// linesMain is the finder's process. The places are decimal numbers with commas between them.
func linesMain(places string, in io.Reader, out io.Writer) error {
	var at []uint32
	for number := range strings.SplitSeq(places, ",") {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return err
		}
		at = append(at, uint32(n))
	}
	code, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(runtime.FindLines(code, at))
}

// findLines makes what runtime.Options.FindLines is: processes one after the other.
func findLines() func(ctx context.Context, code []byte, places []uint32) ([][]string, error) {
	turn := make(chan struct{}, 1)
	return func(ctx context.Context, code []byte, places []uint32) ([][]string, error) {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return nil, fmt.Errorf("find lines: %w", context.Cause(ctx))
		}
		return findLinesApart(ctx, code, places)
	}
}

func findLinesApart(ctx context.Context, code []byte, places []uint32) (lines [][]string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find lines: %w", err)
	}
	var at []string
	for _, place := range places {
		at = append(at, strconv.Itoa(int(place)))
	}
	limited, cancel := context.WithTimeout(ctx, linesTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, self, linesVerb, strings.Join(at, ","))
	cmd.Env = []string{"GOMEMLIMIT=" + strconv.Itoa(linesMemory/2), "GOTRACEBACK=none", "GOMAXPROCS=1"}
	cmd.Stdin = bytes.NewReader(code)
	var out bytes.Buffer
	cmd.Stdout = &out
	said, err := runCompiler(cmd)
	switch exit := (*exec.ExitError)(nil); {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("find lines: %w", context.Cause(ctx))
	case limited.Err() != nil:
		return nil, fmt.Errorf("find lines: %w: it takes longer than %s", runtime.ErrBadLines, shortDuration(linesTimeout))
	case errors.As(err, &exit):
		return nil, fmt.Errorf("find lines: %w: %s", runtime.ErrBadLines, strings.TrimSpace(said))
	case err != nil:
		return nil, fmt.Errorf("find lines: %w", err)
	}
	if err := json.Unmarshal(out.Bytes(), &lines); err != nil {
		return nil, fmt.Errorf("find lines: %w", err)
	}
	return lines, nil
}
