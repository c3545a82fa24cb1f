package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// linesMemory bounds a finder of lines.
const linesMemory = 1 << 30

// linesApart finds lines of a module's source. Hostile debug information of some hundred bytes makes the library that reads it ask for terabytes of
// memory, which ends the process.
var linesApart = &apart{
	verb: "find-lines", timeout: 5 * time.Second,
	env: []string{"GOMEMLIMIT=" + strconv.Itoa(linesMemory/2), "GOTRACEBACK=none", "GOMAXPROCS=1"},
	main: func(places string, in io.Reader, out io.Writer) error {
		if err := limitMemory(linesMemory); err != nil {
			return err
		}
		return linesMain(places, in, out)
	},
}

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
	var at []string
	for _, place := range places {
		at = append(at, strconv.Itoa(int(place)))
	}
	out, err := linesApart.run(ctx, strings.Join(at, ","), code)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) || errors.Is(err, errTooLong) {
		return nil, fmt.Errorf("find lines: %w: %w", runtime.ErrBadLines, err)
	}
	if err == nil {
		err = json.Unmarshal(out, &lines)
	}
	if err != nil {
		return nil, fmt.Errorf("find lines: %w", err)
	}
	return lines, nil
}
