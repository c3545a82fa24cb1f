package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/runtime"
)

// lined is a module of nothing but debug information (DWARF 5, https://dwarfstd.org/doc/DWARF5.pdf): one unit, of the places 1 to 0x100, whose line
// table says that it has so many files, and names one.
func lined(files ...byte) []byte {
	u32 := binary.LittleEndian.AppendUint32
	sized := func(b []byte) []byte { return append(u32(nil, uint32(len(b))), b...) }
	abbrev := []byte{1, 0x11, 0, 0x10, 0x17, 0x11, 0x01, 0x12, 0x06, 0, 0, 0} // a compile unit: stmt_list, low_pc, high_pc
	info := sized(u32(u32(u32(append(u32([]byte{5, 0, 1, 4}, 0), 1), 0), 1), 0xff))
	header := []byte{1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 1, 8, 1, '/', 0, 1, 1, 8} // one folder; files have a path
	header = append(append(header, files...), "m.c\x00"...)
	program := append(u32([]byte{0, 5, 2}, 1), 4, 0, 3, 6, 1, 2, 0x80, 2, 0, 1, 1) // address 1, file 0, line 7, a row, 256 on, the end
	line := sized(append(append(u32([]byte{5, 0, 4, 0}, uint32(len(header))), header...), program...))
	code := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		name string
		body []byte
	}{{".debug_abbrev", abbrev}, {".debug_info", info}, {".debug_line", line}} {
		body := append(append([]byte{byte(len(s.name))}, s.name...), s.body...)
		code = append(append(code, 0, byte(len(body))), body...)
	}
	return code
}

// trapping is a function that fails in every call, with debug information.
func trapping(debug []byte) []byte {
	export := func(name string, kind, index byte) string {
		return string([]byte{byte(len(name))}) + name + string([]byte{kind, index})
	}
	code := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id   byte
		body string
	}{
		{1, "\x03\x60\x00\x01\x7f\x60\x01\x7f\x01\x7f\x60\x03\x7f\x7f\x7f\x01\x7e"}, // () -> i32, (i32) -> i32, (i32, i32, i32) -> i64
		{3, "\x03\x00\x01\x02"},
		{5, "\x01\x00\x01"},
		{7, "\x04" + export("memory", 2, 0) + export("shardmill_abi_v1", 0, 0) + export("shardmill_input", 0, 1) + export("shardmill_handle", 0, 2)},
		{10, "\x03\x04\x00\x41\x01\x0b\x05\x00\x41\x80\x08\x0b\x03\x00\x00\x0b"}, // 1; 1024; unreachable
	} {
		code = append(append(code, s.id, byte(len(s.body))), s.body...)
	}
	return append(code, debug[8:]...)
}

// A replay reads the debug information of a module in another process, too.
func TestReplayOfHostileModules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := capsule.Capsule{Summary: capsule.Summary{ID: "c", Function: "f"}, Limits: capsule.Limits{TimeoutMs: 60_000, MemoryBytes: 64 << 20}, Call: capsule.Call{Kind: 4}, Again: capsule.Outcome{Kind: "trap"}}
	file, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, content := range map[string][]byte{"CAPSULE": file, "GOOD": trapping(lined(1)), "HOSTILE": trapping(lined(0x80, 0x80, 0x80, 0x80, 0x80, 0x02))} {
		files[name] = filepath.Join(dir, name+".bin")
		writeFile(t, files[name], string(content))
	}
	for module, want := range map[string]string{"GOOD": `outcome +trap +trap\n.*\tm\.c:7\n$`, "HOSTILE": `outcome +trap +trap\n.*i64\n$`} {
		if module == "HOSTILE" && goruntime.GOOS != "linux" {
			continue // NOT TESTED: processes are limited on Linux only
		}
		r := cli{}.run(t.Context(), "replay", files["CAPSULE"], "--function", files[module])
		match(t, module, r.stdout, want)
		match(t, module, r.stderr, "then and now differ") // the capsule does not know what it came to
	}
}

// The finder's process finds what is found here, and ends at what would end the host.
func TestFindLines(t *testing.T) {
	t.Parallel()
	find := findLines()
	good := lined(1)
	got, err := find(t.Context(), good, []uint32{5, 0x500})
	if here := runtime.FindLines(good, []uint32{5, 0x500}); err != nil || len(got) != 2 || !slices.Equal(got[0], here[0]) || !slices.Equal(got[0], []string{"\tm.c:7"}) || got[1] != nil {
		t.Errorf("found %q, here %q: %v", got, here, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := find(ended, good, []uint32{5}); !errors.Is(err, context.Canceled) {
		t.Errorf("for a caller who has gone: %v", err)
	}
	if err := linesMain("5,x", strings.NewReader(""), io.Discard); err == nil {
		t.Error("what is no place is taken")
	}
	var out bytes.Buffer
	if err := linesMain("5", bytes.NewReader(good), &out); err != nil || out.String() != `[["\tm.c:7"]]`+"\n" {
		t.Errorf("%q: %v", out.String(), err)
	}
	if goruntime.GOOS != "linux" {
		t.Skip("NOT TESTED: processes are limited on Linux only")
	}
	_, err = find(t.Context(), lined(0x80, 0x80, 0x80, 0x80, 0x80, 0x02), []uint32{5}) // 2^36 files: half a terabyte
	if !errors.Is(err, runtime.ErrBadLines) {
		t.Errorf("of a module with 2^36 files: %v", err)
	}
}
