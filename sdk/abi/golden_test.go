package abi

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

var update = flag.Bool("update", false, "write the golden files")

// batchOf is a record batch as a host hands it to a guest: without checksum.
func batchOf(t testing.TB, records ...record.Record) []byte {
	t.Helper()
	run := runOf(t, records...)
	b := make([]byte, record.HeaderSize+run.Size())
	copy(b[record.HeaderSize:], run.Bytes())
	record.PutHeader(b, run.Len(), run.Size(), false)
	return b
}

func runOf(t testing.TB, records ...record.Record) record.Run {
	t.Helper()
	var w record.Builder
	for _, r := range records {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return w.Run()
}

func encodeCall(t testing.TB, c Call, body, state []byte) []byte {
	t.Helper()
	size, err := c.Size(len(body), len(state))
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Repeat([]byte{0xAA}, size) // so that a byte left unwritten shows
	bodyTo, stateTo := c.Put(b, len(body), len(state))
	copy(bodyTo, body)
	copy(stateTo, state)
	return b
}

func finish(t testing.TB, w *ReplyWriter) []byte {
	t.Helper()
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func emit(t testing.TB, w *ReplyWriter, stream, key, data string) {
	t.Helper()
	if err := w.Emit(stream, record.Record{Key: []byte(key), Data: []byte(data)}); err != nil {
		t.Fatal(err)
	}
}

var (
	batchCall = Call{
		Kind: KindBatch, Mapping: "flights-to-delays", Stream: "flights", Function: "delays",
		Invocation: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Version: 7, Shard: 3, Attempt: 2, Deadline: 1_700_000_003_000_000,
	}
	invokeCall = Call{Kind: KindInvoke, Function: "delays", Invocation: "i-1", Version: math.MaxUint32, Attempt: 1}
	windowCall = Call{
		Kind: KindWindowClose, Flags: FlagWindowEnded, Mapping: "m", Stream: "flights", Function: "f", Invocation: "i-2",
		Version: 1, Shard: 1, Attempt: 1, Deadline: -1,
		WindowStart: 1_700_000_000_000_000, WindowEnd: 1_700_000_060_000_000,
	}
	twoRecords = []record.Record{
		{Sequence: record.MakeSequence(1, 41), Arrival: 1_700_000_000_000_000, Key: []byte("DFW"), Data: []byte(`{"delay":5}`)},
		{Sequence: record.MakeSequence(1, 42), Arrival: 1_700_000_000_000_001, Key: []byte("JFK"), ExplicitHash: bytes.Repeat([]byte{0x80}, 16)},
	}
)

// goldens are what testdata holds; testdata/README.md says what each is.
func goldens(t testing.TB) map[string][]byte {
	g := map[string][]byte{
		"call-batch.bin":  encodeCall(t, batchCall, batchOf(t, twoRecords...), nil),
		"call-invoke.bin": encodeCall(t, invokeCall, []byte("ping"), nil),
		"call-window.bin": encodeCall(t, windowCall, nil, []byte("count=3")),
	}
	var ok, outcomes, outputs, state, body, failed, panicked ReplyWriter
	g["reply-ok.bin"] = finish(t, &ok)
	outcomes.Outcome(2, ResultRejected, "not a flight")
	outcomes.Outcome(0, ResultDropped, "")
	outcomes.Outcome(1, ResultRetry, "later")
	g["reply-outcomes.bin"] = finish(t, &outcomes)
	emit(t, &outputs, "delays", "DFW", `{"flights":12}`)
	emit(t, &outputs, "späte-flüge", "", "")
	emit(t, &outputs, "delays", "JFK", `{"flights":1}`)
	g["reply-outputs.bin"] = finish(t, &outputs)
	state.SetState([]byte("count=4"))
	emit(t, &state, "s", "k", "v")
	state.Outcome(0, ResultDropped, "x")
	g["reply-state.bin"] = finish(t, &state)
	body.SetBody([]byte("pong!"))
	g["reply-body.bin"] = finish(t, &body)
	g["reply-error.bin"] = failed.Fail(FailureError, "*errors.errorString", "boom", "")
	g["reply-panic.bin"] = panicked.Fail(FailurePanic, "runtime.boundsError", "index out of range [3] with length 3", "main.handle(...)\n\t/src/main.go:12 +0x1")
	return g
}

func TestGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bin")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	all := goldens(t)
	if len(files) != len(all) && !*update {
		t.Errorf("testdata has %d files, the test %d", len(files), len(all))
	}
	for name, got := range all {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: encoded\n%x\nwant\n%x", name, got, want)
		}
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("testdata/README.md does not say what %s is", name)
		}
	}
}
