package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// moduleApart compiles a module. A hostile one of some kilobytes makes the compiler take gigabytes of memory, or panic where that cannot be caught.
var moduleApart = &apart{
	verb: "compile-module",
	main: func(argument string, in io.Reader, out io.Writer) error {
		code, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		if err := limitMemory(moduleMemory(len(code))); err != nil {
			return err
		}
		yieldToHost()
		return moduleMain(argument, code, out)
	},
}

// Linear in the size of what is compiled. A module of 49 MB in standard Go takes 1.6 GB and 26 s of one processor, the examples a tenth of what they may.
const (
	moduleMemoryLeast = 512 << 20
	moduleMemoryEach  = 48 // per byte
	moduleTimeLeast   = time.Minute
	moduleTimeEach    = 4 * time.Second // per MB
)

// moduleMemory is how much memory the compiler of a module may take.
func moduleMemory(size int) uint64 { return moduleMemoryLeast + moduleMemoryEach*uint64(size) }

// moduleTime is how long it may take.
func moduleTime(size int) time.Duration {
	return moduleTimeLeast + moduleTimeEach*time.Duration(size)/1e6
}

// compiledModule is what the compiler's process answers.
type compiledModule struct {
	Problem string `json:"problem,omitempty"` // of the module
}

// moduleMain is the compiler's process. The argument is whether machine code tells places, a colon, and the folder.
func moduleMain(argument string, code []byte, out io.Writer) error {
	lines, dir, found := strings.Cut(argument, ":")
	if !found {
		return errors.New("no folder is named")
	}
	var answer compiledModule
	err := runtime.CompileModule(context.Background(), code, lines == strconv.FormatBool(true), dir)
	if wrong := (*runtime.ModuleError)(nil); errors.As(err, &wrong) {
		answer.Problem, err = wrong.Problem, nil
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer)
}

// compileModule is runtime.Options.CompileModule in a process of its own.
func compileModule(ctx context.Context, code []byte, lines bool, dir string) error {
	w := *moduleApart
	w.timeout = moduleTime(len(code))
	w.env = []string{
		"GOTRACEBACK=none", "GOMAXPROCS=" + strconv.Itoa(goruntime.GOMAXPROCS(0)),
		"GOMEMLIMIT=" + strconv.FormatUint(moduleMemory(len(code))/4*3, 10),
	}
	out, err := w.run(ctx, strconv.FormatBool(lines)+":"+dir, code)
	if problem := whyCompilerEnded(err, len(code)); problem != "" {
		return &runtime.ModuleError{Problem: problem}
	}
	var answer compiledModule
	if err == nil {
		err = json.Unmarshal(out, &answer)
	}
	switch {
	case errors.Is(err, errEnded):
		return fmt.Errorf("%w (%w)", runtime.ErrCompilerEnded, err)
	case err != nil:
		return fmt.Errorf("compile a module: %w", err)
	case answer.Problem != "":
		return &runtime.ModuleError{Problem: answer.Problem}
	}
	return nil
}

// whyCompilerEnded is what is wrong with a module of that size, of which the compiler has ended with that error; "" where the error is not the module's.
func whyCompilerEnded(err error, size int) string {
	exit := (*exec.ExitError)(nil)
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Sprintf("it takes longer than %s to compile", shortDuration(moduleTime(size).Round(time.Second)))
	case !errors.As(err, &exit) || exit.ExitCode() == exitFailure: // that is what the process says itself
		return ""
	case strings.Contains(err.Error(), "out of memory") || strings.Contains(err.Error(), "cannot allocate memory"):
		return fmt.Sprintf("it takes more than %d MiB of memory to compile", moduleMemory(size)>>20)
	case strings.Contains(err.Error(), "stack overflow") || strings.Contains(err.Error(), "stack exceeds"):
		return "it is nested too deeply"
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return "the compiler ended of it: " + first
}
