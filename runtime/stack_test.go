package runtime

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime/fuel"
)

// trapping is a function in C whose handler traps three calls deep, of which one is inlined.
const trapping = `
typedef unsigned int u32;
__attribute__((export_name("shardmill_abi_v1"))) u32 version(void) { return 1; }
static char area[65536] __attribute__((aligned(8)));
__attribute__((export_name("shardmill_input"))) u32 input(u32 size) { return (u32)area; }

static volatile int zero;
static inline __attribute__((always_inline)) int divide(int n) {
	return n / zero; // line 9
}
__attribute__((noinline)) static int work(int n) {
	int sum = 0;
	for (int i = 1; i <= n; i++) sum += i & zero;
	return divide(sum) + 1; // line 14
}
__attribute__((noinline)) static void spin(void) {
	for (;;) zero = 0; // line 17
}
__attribute__((export_name("shardmill_handle"))) unsigned long long handle(u32 kind, u32 at, u32 size) {
	if (SPIN) spin(); // line 20
	return work(10); // line 21
}
`

// buildC builds a module with debug information.
func buildC(t *testing.T, source string, flags ...string) []byte {
	t.Helper()
	clang, err := exec.LookPath("clang")
	if err == nil {
		_, err = exec.LookPath("wasm-ld")
	}
	if err != nil {
		t.Skip("NOT TESTED: there is no clang with lld here:", err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "trap.c"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--target=wasm32", "-nostdlib", "-O1", "-Wl,--no-entry", "-Wl,--export=__heap_base", "-o", "trap.wasm"}, flags...)
	cmd := exec.Command(clang, append(args, "trap.c")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	code, err := os.ReadFile(filepath.Join(dir, "trap.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// A trap in C has its file and lines, through inlined calls, with either version of the format, also from the cache of compiled code, compiled by several.
func TestStackHasLines(t *testing.T) {
	for _, flag := range []string{"-gdwarf-4", "-gdwarf-5", "-g1"} {
		t.Run(flag, func(t *testing.T) {
			s, dir := newStores(), t.TempDir()
			cached := func(o *Options) { o.CacheDir, o.CompileModule, o.apartBytes = dir, CompileModule, 1 }
			w := reopen(t, s, cached)
			w.deploy(t, "f", buildC(t, trapping, flag, "-DSPIN=0"), Config{})
			for range 2 {
				_, err := w.ask(t.Context(), "f", "x")
				f := failure(t, err, FailTrap)
				want := []string{".work(", "\ttrap.c:9:11 (inlined)", "\ttrap.c:14:9", ".handle(", "\ttrap.c:21:9"}
				rest := f.Stack
				for _, line := range want {
					_, after, found := strings.Cut(rest, line)
					if !found {
						t.Errorf("no %q in order in the stack\n%s", line, f.Stack)
					}
					rest = after
				}
				if strings.Contains(f.Stack, "0x") || strings.Contains(f.Stack, "shardmill:1") {
					t.Errorf("the stack has places of the engine\n%s", f.Stack)
				}
				if err := w.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				w = reopen(t, s, cached)
			}
		})
	}
}

func TestStoppedGuestHasLines(t *testing.T) {
	w := open(t)
	w.deploy(t, "f", buildC(t, trapping, "-g", "-DSPIN=1"), Config{Fuel: 1_000_000})
	_, err := w.ask(t.Context(), "f", "s")
	if f := failure(t, err, FailFuel); !strings.HasPrefix(f.Stack, ".spin()\n\ttrap.c:1") || !strings.Contains(f.Stack, "\n\ttrap.c:20:12") {
		t.Errorf("the stack is\n%s", f.Stack)
	}
	w.deploy(t, "f", buildC(t, trapping, "-DSPIN=0"), Config{})
	_, err = w.ask(t.Context(), "f", "x")
	if f := failure(t, err, FailTrap); !strings.HasPrefix(f.Stack, ".work() i32\n.handle(") {
		t.Errorf("without debug information the stack is\n%s", f.Stack)
	}
}

func TestReadableFrame(t *testing.T) {
	for frame, want := range map[string]string{
		".main.f(i32,i32) i64":                 ".main.f(i32,i32) i64",
		"._start()":                            "._start()",
		".$17(i32)":                            ".$17(i32)",
		"... maybe followed by omitted frames": "... maybe followed by omitted frames",
		"._ZN4core9panicking5panic17h0123456789abcdefE(i32,i32,i32)":                                ".core::panicking::panic(i32,i32,i32)",
		"._ZN57_$LT$std..path..Display$u20$as$u20$core..fmt..Display$GT$3fmt17habcdefabcdefabcdE()": ".<std::path::Display as core::fmt::Display>::fmt()",
		"._RNvCs4fqI2P2rA04_7mycrate3foo(i32)":                                                      ".mycrate::foo(i32)",
		"._ZN":                                                                                      "._ZN",
		"._Zbroken(i32)":                                                                            "._Zbroken(i32)",
		"":                                                                                          "",
	} {
		if got := readableFrame(frame); got != want {
			t.Errorf("%q is %q, want %q", frame, got, want)
		}
	}
}

// Whatever debug information strangers make, it ends in lines or none.
func FuzzDebugInfo(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00"), uint32(1))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x00\x0d\x0b.debug_line\x00"), uint32(1))
	f.Fuzz(func(t *testing.T, code []byte, place uint32) {
		readDebugInfo(code).lines(uint64(place))
	})
}

// Damaged debug information costs lines only.
func TestDamagedDebugInfo(t *testing.T) {
	code := buildC(t, trapping, "-g", "-DSPIN=0")
	intact := 0
	for at := len(code) / 3; at < len(code); at += 7 {
		damaged := append([]byte(nil), code...)
		damaged[at] ^= 0xff
		if d := readDebugInfo(damaged); len(d.lines(uint64(at%512))) > 0 {
			intact++
		}
	}
	if intact == 0 {
		t.Error("no place was found in any")
	}
	s := &source{code: func(context.Context) ([]byte, error) { return nil, os.ErrNotExist }}
	if got := s.readable("\tf(i32)\n\t\t0x10: shardmill:1\n\tg()"); got != "f(i32)\ng()" {
		t.Errorf("without the code: %q", got)
	}
}

// Debug information that cannot be read is not read again; what a busy machine did not find is. A stack's places are bounded, whatever names functions have.
func TestLinesThatAreNotFound(t *testing.T) {
	stack := ".f()\n" + strings.Repeat("\t\t0x10: shardmill:1\n", 2)
	for i := range 2 * maxPlaces {
		stack += fmt.Sprintf("\t\t0x%x: shardmill:1\n", 0x100+i)
	}
	for _, c := range []struct {
		err   error
		asked int
	}{{ErrBadLines, 1}, {context.DeadlineExceeded, 2}} {
		asked := 0
		s := &source{places: new(fuel.Places), code: func(context.Context) ([]byte, error) { return nil, nil }}
		s.read = func(_ context.Context, _ []byte, places []uint32) ([][]string, error) {
			if asked++; len(places) != maxPlaces-1 { // one is there twice
				t.Errorf("asked for %d places", len(places))
			}
			return nil, c.err
		}
		for range 2 {
			if got := s.readable(stack); got != ".f()\n" {
				t.Errorf("%q", got)
			}
		}
		if asked != c.asked {
			t.Errorf("%v: asked %d times, want %d", c.err, asked, c.asked)
		}
	}
}
