package abi

import (
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// field is what stands in one field of a layout; number is its value, text the bytes of it where it is no number.
type field struct {
	number uint64
	text   string
}

var rowPattern = regexp.MustCompile(`^\| (\d+) \| (\d+) \| ([^|]+) \|`)

// TestLayoutsAreTheLaw reads the tables of abi.md and looks up, at the offset each row gives, the value that was
// encoded for that field. So neither the codec nor the paper can move alone.
func TestLayoutsAreTheLaw(t *testing.T) {
	law, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	batch, state := batchOf(t, twoRecords...), []byte("count=3")
	full := batchCall
	full.Flags, full.WindowStart, full.WindowEnd = FlagWindowEnded, 11, 22
	call := encodeCall(t, full, batch, state)
	bodyAt := uint64(align(CallHeaderSize + len("flights-to-delaysflightsdelays01ARZ3NDEKTSV4RRFFQ69G5FAV")))

	var w ReplyWriter
	w.Outcome(5, ResultRejected, "bad")
	emit(t, &w, "delays", "DFW", "12345")
	w.SetState(state)
	reply := append([]byte(nil), finish(t, &w)...)
	outcome, output := reply[ReplyHeaderSize:], reply[ReplyHeaderSize+16:]
	failure := w.Fail(FailurePanic, "T", "message", "the stack")[ReplyHeaderSize:]

	for _, table := range []struct {
		after string // the heading it stands under
		bytes []byte
		want  map[string]field
	}{
		{"## 2. The call", call, map[string]field{
			"magic": {text: "SMCL"}, "version": {number: 1}, "kind": {number: 1}, "flags": {number: 1},
			"header size": {number: 80}, "mapping name length": {number: 17}, "stream name length": {number: 7},
			"function name length": {number: 6}, "invocation id length": {number: 26}, "reserved": {},
			"function version": {number: 7}, "shard": {number: 3}, "attempt": {number: 2},
			"deadline": {number: 1_700_000_003_000_000}, "body offset": {number: bodyAt},
			"body length": {number: uint64(len(batch))}, "state offset": {number: bodyAt + uint64(len(batch))},
			"state length": {number: 7}, "window start": {number: 11}, "window end": {number: 22},
		}},
		{"## 3. The reply", reply, map[string]field{
			"magic": {text: "SMRP"}, "version": {number: 1}, "status": {}, "flags": {}, "length": {number: uint64(len(reply))},
			"error section length": {}, "outcome count": {number: 1}, "outcomes section length": {number: 16},
			"output section count": {number: 1}, "output sections' length together": {number: 56},
			"state length": {number: 7}, "body length": {},
		}},
		{"### 3.1 Error section", failure, map[string]field{
			"kind": {number: 2}, "type length": {number: 1}, "message length": {number: 7}, "stack length": {number: 9}, "reserved": {},
		}},
		{"### 3.2 Outcomes", outcome, map[string]field{
			"index": {number: 5}, "result": {number: 3}, "reserved": {}, "reason length": {number: 3},
		}},
		{"### 3.3 Output sections", output, map[string]field{
			"section length": {number: 56}, "record count": {number: 1}, "records length": {number: 32},
			"stream name length": {number: 6}, "reserved": {},
		}},
	} {
		_, text, found := strings.Cut(string(law), table.after)
		if !found {
			t.Fatalf("abi.md has no heading %q", table.after)
		}
		text, _, _ = strings.Cut(text, "\n#")
		checkTable(t, table.after, text, table.bytes, table.want)
	}
}

func checkTable(t *testing.T, heading, text string, b []byte, want map[string]field) {
	t.Helper()
	seen, next := map[string]bool{}, 0
	for _, line := range strings.Split(text, "\n") {
		m := rowPattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		at, _ := strconv.Atoi(m[1])
		size, _ := strconv.Atoi(m[2])
		name := strings.TrimSpace(m[3])
		w, known := want[name]
		if !known {
			t.Errorf("%s: field %q is not tested", heading, name)
			continue
		}
		if at != next {
			t.Errorf("%s: %q is at %d, the field before ends at %d", heading, name, at, next)
		}
		seen[name], next = true, at+size
		if w.text != "" {
			if got := string(b[at : at+size]); got != w.text {
				t.Errorf("%s: %q at %d is %q, want %q", heading, name, at, got, w.text)
			}
			continue
		}
		var wide [8]byte
		copy(wide[:], b[at:at+size])
		if got := binary.LittleEndian.Uint64(wide[:]); got != w.number {
			t.Errorf("%s: %q at %d is %d, want %d", heading, name, at, got, w.number)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%s: the table has %d of the %d fields tested", heading, len(seen), len(want))
	}
}

// TestNumbersAreTheLaw looks for each name with its number, and for each limit, in the text of abi.md.
func TestNumbersAreTheLaw(t *testing.T) {
	b, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	law := strings.Join(strings.Fields(string(b)), " ")
	for _, phrase := range []string{
		"| " + strconv.Itoa(int(KindBatch)) + " | " + KindBatch.String() + " |",
		"| " + strconv.Itoa(int(KindWindowClose)) + " | " + KindWindowClose.String() + " |",
		"| " + strconv.Itoa(int(KindTransform)) + " | " + KindTransform.String() + " |",
		"| " + strconv.Itoa(int(KindInvoke)) + " | " + KindInvoke.String() + " |",
		strconv.Itoa(int(FailureError)) + " error:", strconv.Itoa(int(FailurePanic)) + " panic:",
		strconv.Itoa(int(FailureUnsupported)) + " unsupported:", strconv.Itoa(int(FailureBadCall)) + " bad call:",
		strconv.Itoa(int(ResultDropped)) + " dropped:", strconv.Itoa(int(ResultRetry)) + " retry:",
		strconv.Itoa(int(ResultRejected)) + " rejected:",
		"| `" + ExportMemory + "` |", "| `" + ExportInitialize + "` |", "| `" + ExportVersion + "` |",
		"| `" + ExportInput + "` |", "| `" + ExportHandle + "` |", "| `" + ExportKinds + "` |", "| `" + ExportResumed + "` |", "| `" + ExportRecord + "` |",
		"Header, " + strconv.Itoa(CallHeaderSize) + " bytes:", "Header, " + strconv.Itoa(ReplyHeaderSize) + " bytes:",
		"mapping name length | 0.." + strconv.Itoa(MaxNameBytes), "invocation id length | 0.." + strconv.Itoa(MaxInvocationBytes),
		"at most 1 MiB", "at most 6 MiB", "type length | at most " + strconv.Itoa(MaxTypeBytes),
		"message length | at most 65,536", "stack length | at most 262,144", "reason length | at most 1,024",
		"output section count | at most " + strconv.Itoa(MaxOutputs),
	} {
		if !strings.Contains(law, phrase) {
			t.Errorf("abi.md does not say %q", phrase)
		}
	}
	if MaxStateBytes != 6<<20 || KeptStateBytes != 1<<20 || MaxMessageBytes != 65536 || MaxStackBytes != 262144 || MaxReasonBytes != 1024 {
		t.Error("a limit has another value than abi.md says")
	}
}
