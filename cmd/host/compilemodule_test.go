package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/runtime/wasm"
)

// endsApart is work that ends as its argument says, as a compiler might.
var endsApart = &apart{
	verb: "end-for-tests", timeout: time.Minute, env: []string{"GOTRACEBACK=none"},
	main: func(argument string, in io.Reader, out io.Writer) error {
		switch argument {
		case "panic":
			go func() { panic("in a worker") }()
		case "memory":
			if err := limitMemory(64 << 20); err != nil {
				return err
			}
			for held := [][]byte{}; ; held = append(held, make([]byte, 16<<20)) {
			}
		case "kill":
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "abort":
			return syscall.Kill(os.Getpid(), syscall.SIGABRT)
		case "fail":
			return errors.New("the disk is full")
		case "stay":
			if _, err := io.WriteString(out, "here\n"); err != nil {
				return err
			}
		default:
			_, err := io.Copy(out, in)
			return err
		}
		select {}
	},
}

func TestHowCompilersEnd(t *testing.T) {
	t.Parallel()
	for argument, want := range map[string]string{
		"panic": "the compiler ended of it: exit status 2: panic: in a worker", "memory": "it takes more than 512 MiB of memory to compile",
		"abort": "the compiler ended of it: ", "kill": "", "fail": "", "echo": "",
	} {
		if argument == "memory" && goruntime.GOOS != "linux" {
			t.Log("NOT TESTED: memory of processes is limited on Linux only")
			continue
		}
		out, err := endsApart.run(t.Context(), argument, []byte("input"))
		got := whyCompilerEnded(err, 0)
		if argument == "memory" && strings.Contains(got, "ThreadSanitizer failed to allocate") { // where the race detector is first
			got = want
		}
		if argument == "abort" && strings.HasPrefix(got, want) {
			got = want
		}
		if errors.Is(err, errEnded) != (argument == "kill") {
			t.Errorf("%s is taken for the machine's doing, or is not: %v", argument, err)
		}
		if got != want || (err == nil) != (argument == "echo") || argument == "echo" && string(out) != "input" {
			t.Errorf("%s: %q, %q: %v", argument, out, got, err)
		}
	}
	short := *endsApart
	short.timeout = time.Millisecond
	_, err := short.run(t.Context(), "stay", nil)
	if got := whyCompilerEnded(err, 2e6); got != "it takes longer than 1m8s to compile" {
		t.Errorf("%q: %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := endsApart.run(ended, "stay", nil); !errors.Is(err, context.Canceled) || whyCompilerEnded(err, 0) != "" {
		t.Errorf("for a caller who has gone: %v", err)
	}
	if got := whyCompilerEnded(nil, 0); got != "" {
		t.Error(got)
	}
}

// A process that works apart takes no notice of signals that are meant for its host, and ends when nobody holds its stdin any more.
func TestApartEndsWithItsHost(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], endsApart.verb, "stay")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, err = stdin.Write(make([]byte, 8)) // no input
	if err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGINT), cmd.Process.Signal(syscall.SIGTERM), cmd.Process.Signal(syscall.SIGHUP), cmd.Process.Signal(syscall.SIGQUIT), stdin.Close()); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("it has ended with %v", err)
	}
}

func TestCompileModule(t *testing.T) {
	t.Parallel()
	for lines, code := range map[bool][]byte{false: echoModule, true: wasm.Header} {
		there, here := t.TempDir(), t.TempDir()
		if err := compileModule(t.Context(), code, lines, there); err != nil {
			t.Fatal(err)
		}
		if err := runtime.CompileModule(t.Context(), code, lines, here); err != nil {
			t.Fatal(err)
		}
		if got, want := sealOf(t, there), sealOf(t, here); !bytes.Equal(got, want) {
			t.Errorf("compiled apart it is %s, here %s", got, want)
		}
	}
	wrong := (*runtime.ModuleError)(nil)
	if err := compileModule(t.Context(), append(wasm.Header[:8:8], 10, 1, 1), false, t.TempDir()); !errors.As(err, &wrong) || strings.Contains(wrong.Problem, "ended") {
		t.Errorf("of a module that is not valid: %v", err)
	}
	if err := compileModule(t.Context(), echoModule, false, filepath.Join(t.TempDir(), "no", "\x00")); err == nil || errors.As(err, &wrong) {
		t.Errorf("into a folder that cannot be: %v", err)
	}
	if err := moduleMain("folder", nil, io.Discard); err == nil {
		t.Error("an argument that names no folder is taken")
	}
}

// sealOf is the list of what is in a folder.
func sealOf(t *testing.T, dir string) []byte {
	t.Helper()
	seal, err := os.ReadFile(filepath.Join(dir, "SEAL"))
	if err != nil {
		t.Fatal(err)
	}
	return seal
}

// endless is a module of 60 KB that takes the compiler far longer than a test: a function of n locals, and n loops in one another.
func endless(n int) []byte {
	vec := func(entries ...[]byte) []byte {
		return append(wasm.AppendLEB(nil, uint64(len(entries))), bytes.Join(entries, nil)...)
	}
	sized := func(b []byte) []byte { return append(wasm.AppendLEB(nil, uint64(len(b))), b...) }
	section := func(id byte, body []byte) []byte { return append([]byte{id}, sized(body)...) }
	body := append(wasm.AppendLEB([]byte{1}, uint64(n)), 0x7f)
	body = append(body, bytes.Repeat([]byte{wasm.OpLoop, 0x40}, n)...)
	for i := range n {
		at := wasm.AppendLEB(nil, uint64(i))
		body = append(append(append(append(body, wasm.OpLocalGet), at...), wasm.OpI32Const, 1, 0x6a, wasm.OpLocalSet), at...)
	}
	body = append(append(body, bytes.Repeat([]byte{wasm.OpLocalGet, 0, wasm.OpBrIf, 0, wasm.OpEnd}, n)...), wasm.OpI32Const, 1, wasm.OpEnd)
	exports := [][]byte{append(sized([]byte("memory")), wasm.ExternMemory, 0)}
	for i, name := range []string{"shardmill_abi_v1", "shardmill_input", "shardmill_handle"} {
		exports = append(exports, append(sized([]byte(name)), wasm.ExternFunction, byte(i)))
	}
	return bytes.Join([][]byte{
		wasm.Header,
		section(wasm.SectionType, vec([]byte{0x60, 0, 1, 0x7f}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7e})),
		section(wasm.SectionFunction, vec([]byte{0}, []byte{1}, []byte{2})),
		section(wasm.SectionMemory, vec([]byte{0, 1})),
		section(wasm.SectionExport, vec(exports...)),
		section(wasm.SectionCode, vec(sized(body), []byte{4, 0, wasm.OpI32Const, 1, wasm.OpEnd}, []byte{4, 0, 0x42, 0, wasm.OpEnd})),
	}, nil)
}

// compilerOf waits until a host's process has one that compiles a module, and returns that.
func compilerOf(t *testing.T, host *process) (compiler *os.Process) {
	t.Helper()
	until(t, "a module is compiled", func() bool {
		lists, _ := filepath.Glob("/proc/" + strconv.Itoa(host.Process.Pid) + "/task/*/children")
		for _, list := range lists {
			text, _ := os.ReadFile(list)
			for child := range strings.FieldsSeq(string(text)) {
				line, _ := os.ReadFile("/proc/" + child + "/cmdline")
				if pid, err := strconv.Atoi(child); err == nil && bytes.Contains(line, []byte(moduleApart.verb)) {
					compiler, err = os.FindProcess(pid)
					return err == nil
				}
			}
		}
		return false
	})
	return compiler
}

type lambdaStates struct{ State, StateReasonCode, StateReason string }

// lambdaState is what Lambda's API says of a function.
func lambdaState(t *testing.T, p *process, name string) (s lambdaStates) {
	t.Helper()
	r, err := http.Get(p.api + "/2015-03-31/functions/" + name + "/configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		t.Error(err)
	}
	return s
}

// A compiler that is killed is begun again, a few times; then the upload has failed, and is told that it is not at fault. That of a function that is deleted ends. A host that is
// killed takes its compiler with it, and the next one begins anew; one that is told to stop leaves nothing.
func TestKilledCompilers(t *testing.T) {
	t.Parallel()
	if goruntime.GOOS != "linux" {
		t.Skip("NOT TESTED: processes are found on Linux only")
	}
	dir := t.TempDir()
	staged := func() (names []string) {
		names, _ = filepath.Glob(filepath.Join(dir, "cache", "new-*"))
		return names
	}
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	if _, err := client.Submit(t.Context(), "f", bytes.NewReader(endless(4000)), api.FunctionConfig{}, api.Proof{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f, err := client.Function(t.Context(), "f")
		if err != nil || f.State != string(runtime.StatePending) {
			t.Fatalf("%+v: %v", f, err)
		}
		if got := lambdaState(t, p, "f"); got.State != "Pending" || got.StateReasonCode != "Creating" {
			t.Errorf("Lambda's API says %+v", got)
		}
		killed := compilerOf(t, p)
		if err := killed.Kill(); err != nil {
			t.Fatal(err)
		}
		until(t, "the compiler has ended", func() bool { return killed.Signal(syscall.Signal(0)) != nil })
	}
	var f api.Function
	var err error
	until(t, "the upload has failed", func() bool {
		f, err = client.Function(t.Context(), "f")
		return err != nil || f.State != string(runtime.StatePending)
	})
	if err != nil || f.State != string(runtime.StateFailed) || !strings.Contains(f.Reason, "the code is not at fault") || !strings.Contains(f.Reason, "signal: killed") || len(staged()) != 0 {
		t.Errorf("%+v: %v; %q", f, err, staged())
	}
	if got := lambdaState(t, p, "f"); got.State != "Failed" || got.StateReasonCode != "InternalError" || got.StateReason != f.Reason {
		t.Errorf("Lambda's API says %+v", got)
	}
	if _, err := client.Submit(t.Context(), "gone", bytes.NewReader(endless(4002)), api.FunctionConfig{}, api.Proof{}); err != nil {
		t.Fatal(err)
	}
	needless := compilerOf(t, p)
	if err := client.DeleteFunction(t.Context(), "gone", false); err != nil {
		t.Fatal(err)
	}
	until(t, "the compiler of a deleted function has ended", func() bool { return needless.Signal(syscall.Signal(0)) != nil && len(staged()) == 0 })
	if _, err := client.Submit(t.Context(), "f", bytes.NewReader(endless(4001)), api.FunctionConfig{}, api.Proof{}); err != nil {
		t.Fatal(err)
	}
	orphan := compilerOf(t, p)
	left := staged()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.end()
	until(t, "the compiler has ended", func() bool { return orphan.Signal(syscall.Signal(0)) != nil })
	p = startProcess(t, dir)
	compilerOf(t, p)
	if now := staged(); len(left) != 1 || len(now) != 1 || left[0] == now[0] {
		t.Errorf("the cache has %q, before the host was killed %q", now, left)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := p.end(); status != exitOK || len(staged()) != 0 {
		t.Errorf("status %d, the cache has %q, log:\n%s", status, staged(), p.log)
	}
}
