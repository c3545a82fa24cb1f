package csdk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// server is testdata/serve.c, built for this machine and running.
type server struct {
	in  io.Writer
	out *bufio.Reader
}

func serve(t *testing.T) *server {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "serve")
	compile(t, "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.", "-o", binary, "testdata/serve.c")
	cmd := exec.Command(binary)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &server{in, bufio.NewReader(out)}
}

// What functions reach beyond their calls, granted by a test in C, and by hosts that give what they should not.
func TestOutside(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "outside")
	compile(t, "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I.", "-o", binary, "testdata/outside.c")
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), "REGION=eu", "ASAN_OPTIONS=detect_leaks=0") // what the SDK keeps, it keeps to the end
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

// compile runs the first compiler that has its checks on memory, or else, saying so, the first there is.
func compile(t *testing.T, args ...string) {
	t.Helper()
	checked := append([]string{"-fsanitize=address,undefined", "-fno-sanitize-recover=all"}, args...)
	var failed []string
	for _, arguments := range [][]string{checked, args} {
		for _, name := range []string{"gcc", "clang", "cc"} {
			compiler, err := exec.LookPath(name)
			if err != nil {
				continue
			}
			text, err := exec.Command(compiler, arguments...).CombinedOutput()
			if err == nil {
				if len(arguments) == len(args) {
					t.Log("LEFT OUT: the compiler's checks on memory, which it does not have here")
				}
				return
			}
			failed = append(failed, string(text))
		}
	}
	if failed == nil {
		t.Skip("LEFT OUT: no C compiler for this machine (gcc, clang or cc)")
	}
	t.Fatal(strings.Join(failed, "\n"))
}

// call sends one call as it is and returns the reply, which keeps the ABI.
func (s *server) call(t *testing.T, kind abi.Kind, call []byte, records int) ([]byte, *abi.Reply) {
	t.Helper()
	frame := binary.LittleEndian.AppendUint32(nil, uint32(kind))
	frame = append(binary.LittleEndian.AppendUint32(frame, uint32(len(call))), call...)
	if _, err := s.in.Write(frame); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(s.out, size[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.LittleEndian.Uint32(size[:]))
	if _, err := io.ReadFull(s.out, b); err != nil {
		t.Fatal(err)
	}
	var reply abi.Reply
	if err := reply.Parse(b, kind, records); err != nil {
		t.Fatalf("a call of %d bytes: %v", len(call), err)
	}
	return b, &reply
}

func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "abi", "testdata", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encode is a call of a function, with n small records when it is a batch.
func encode(t *testing.T, kind abi.Kind, function string, n int) []byte {
	t.Helper()
	var body []byte
	if kind == abi.KindBatch {
		var w record.Builder
		for range n {
			if err := w.Append(record.Record{Key: []byte("k"), Data: []byte("d")}); err != nil {
				t.Fatal(err)
			}
		}
		body = w.Finish()
	}
	c := abi.Call{Kind: kind, Function: function, Version: 1, Attempt: 1}
	if function == "reply-state" {
		c.WindowEnd = 1
	}
	size, err := c.Size(len(body), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	to, _ := c.Put(b, len(body), 0)
	copy(to, body)
	return b
}

// The replies are the golden ones, byte for byte, and those of the Go SDK where there is none.
func TestReplies(t *testing.T) {
	s := serve(t)
	var w abi.ReplyWriter
	fail := func(kind abi.FailureKind, message string) []byte {
		w.Reset()
		return slices.Clone(w.Fail(kind, "", message, ""))
	}
	for _, c := range []struct {
		function string
		kind     abi.Kind
		want     []byte
	}{
		{"reply-ok", abi.KindBatch, golden(t, "reply-ok")},
		{"reply-outcomes", abi.KindBatch, golden(t, "reply-outcomes")},
		{"reply-state", abi.KindBatch, golden(t, "reply-state")},
		{"reply-outputs", abi.KindBatch, golden(t, "reply-outputs")},
		{"reply-outputs", abi.KindInvoke, golden(t, "reply-outputs")},
		{"reply-body", abi.KindInvoke, golden(t, "reply-body")},
		{"reply-ok", abi.KindBatch, golden(t, "reply-ok")},
		{"fail", abi.KindBatch, fail(abi.FailureError, "boom")},
		{"mute", abi.KindInvoke, fail(abi.FailureError, "the handler failed without saying why")},
		{"f", abi.KindTransform, fail(abi.FailureUnsupported, "the function has no handler for a transform")},
	} {
		if got, _ := s.call(t, c.kind, encode(t, c.kind, c.function, 3), 3); !bytes.Equal(got, c.want) {
			t.Errorf("%s of a %s:\n%x\nwant\n%x", c.function, c.kind, got, c.want)
		}
	}
}

// The golden calls are read as they are meant.
func TestCalls(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name    string
		kind    abi.Kind
		records int
		want    []string
	}{
		{"call-batch", abi.KindBatch, 2, []string{
			"facts delays  7 3 2 1700000003000000 2", "facts flights-to-delays  flights", "facts 01ARZ3NDEKTSV4RRFFQ69G5FAV  ",
			`records DFW  {"delay":5}`, "records JFK 80808080808080808080808080808080 ", `records DFW  {"delay":5}`, "records JFK 80808080808080808080808080808080 "}},
		{"call-invoke", abi.KindInvoke, 0, []string{"facts delays  4294967295 0 1 0 0", "facts   ", "facts i-1  ping"}},
		{"call-window", abi.KindWindowClose, 0, []string{"windows 1700000000000000 1700000060000000 1  count=3"}},
	} {
		_, reply := s.call(t, c.kind, golden(t, c.name), c.records)
		var got []string
		for out := range reply.Outputs() {
			for r := range out.Records.All() {
				got = append(got, fmt.Sprintf("%s %s %x %s", out.Stream, r.Key, r.ExplicitHash, r.Data))
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%q\nwant\n%q", c.name, got, c.want)
		}
	}
}

// Whatever is wrong with a call, it is answered, within the memory that it has.
func TestBadCalls(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"call-batch", "call-invoke", "call-window"} {
		call := golden(t, name)
		kind := abi.Kind(call[6])
		var v abi.CallView
		for n := range len(call) {
			_, reply := s.call(t, kind, call[:n], 2)
			if v.Parse(call[:n]) != nil && reply.Failure().Kind != abi.FailureBadCall {
				t.Errorf("%s cut to %d bytes: %v %s", name, n, reply.Failure().Kind, reply.Failure().Message)
			}
			for _, bit := range []byte{1, 2, 0x10, 0x80, 0xff} {
				wrong := bytes.Clone(call)
				wrong[n] ^= bit
				_, reply := s.call(t, kind, wrong, 2)
				if v.Parse(wrong) != nil && reply.Failure().Kind != abi.FailureBadCall {
					t.Errorf("%s with byte %d ^ %#x: %v %s", name, n, bit, reply.Failure().Kind, reply.Failure().Message)
				}
			}
		}
	}
	_, reply := s.call(t, abi.KindInvoke, golden(t, "call-batch"), 0)
	if f := reply.Failure(); f.Kind != abi.FailureBadCall || !strings.Contains(string(f.Message), "another kind") {
		t.Errorf("another kind: %v %s", f.Kind, f.Message)
	}
	if _, reply := s.call(t, 77, encode(t, abi.KindInvoke, "f", 0), 0); reply.Failure().Kind != abi.FailureBadCall {
		t.Errorf("kind 77: %v", reply.Failure().Kind)
	}
}
