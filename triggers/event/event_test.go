package event

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	streamID  = "01KBKT5N9Q0000000000000000"
	streamARN = "arn:aws:kinesis:us-east-1:123456789012:stream/lambda-stream"
	roleARN   = "arn:aws:iam::123456789012:role/lambda-role"
	arrival   = 1_545_084_650_987_654 // µs
)

func envelope() Envelope {
	return Envelope{Region: "us-east-1", StreamARN: streamARN, Role: roleARN, Numbers: sequence.Of(streamID), Shard: 6}
}

func TestStateObject(t *testing.T) {
	for state, want := range map[string]string{
		"": "", "{}": "{}", ` {"a":"b"}`: ` {"a":"b"}`, "\t\r\n{}": "\t\r\n{}", "a,": `{"base64":"YSw="}`, "[1]": `{"base64":"WzFd"}`, "{": `{"base64":"ew=="}`, " ": `{"base64":"IA=="}`, "\x00\xff": `{"base64":"AP8="}`,
	} {
		if got := string(StateObject([]byte(state))); got != want {
			t.Errorf("%q: %s, want %s", state, got, want)
		}
	}
}

func window(state string) *Window {
	start := time.Date(2020, 12, 9, 7, 4, 0, 0, time.UTC)
	return &Window{Start: start, End: start.Add(2 * time.Minute), State: []byte(state)}
}

// batchOf is records as a mapping has them: cut into runs of two, numbered from 1 on.
func batchOf(t testing.TB, records ...record.Record) []record.Run {
	t.Helper()
	var b record.Builder
	for i, r := range records {
		r.Sequence = record.MakeSequence(1, uint64(i)+1)
		if r.Arrival == 0 {
			r.Arrival = arrival
		}
		if err := b.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	var runs []record.Run
	for rest := b.Run(); rest.Len() > 0; {
		var head record.Run
		head, rest = rest.Split(2)
		runs = append(runs, head)
	}
	return runs
}

func three(t testing.TB) []record.Run {
	return batchOf(t,
		record.Record{Key: []byte("1"), Data: []byte("Hello, this is a test.")},
		record.Record{Key: []byte(`say "ä" <b>&\ ` + "\n\u2028\x00\xff"), Data: []byte{0, 1, 2, 0xff}},
		record.Record{Key: []byte("empty"), Arrival: 1_607_497_475_000_000},
	)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
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
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// TestGolden holds the bytes of events.
func TestGolden(t *testing.T) {
	golden(t, "batch.json", Append(nil, envelope(), three(t)))
	e := envelope()
	e.Window = window(`{"1":"state 1","2":"state 2"}`)
	golden(t, "window.json", Append(nil, e, three(t)[:1]))
	e.Window = window("")
	e.Window.Final, e.Window.EndedEarly = true, true
	golden(t, "final.json", Append(nil, e, nil))
}

// TestEventTypes has Lambda's own types read what was written.
func TestEventTypes(t *testing.T) {
	e := envelope()
	e.Window = window(`{"count":"3"}`)
	var got events.KinesisTimeWindowEvent
	strict(t, Append(nil, e, three(t)), &got)
	var want events.KinesisTimeWindowEvent
	for i, r := range []events.KinesisRecord{
		{PartitionKey: "1", Data: []byte("Hello, this is a test."), ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: time.UnixMilli(1_545_084_650_987).UTC()}},
		{PartitionKey: `say "ä" <b>&\ ` + "\n\u2028\x00\ufffd", Data: []byte{0, 1, 2, 0xff}, ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: time.UnixMilli(1_545_084_650_987).UTC()}},
		{PartitionKey: "empty", Data: []byte{}, ApproximateArrivalTimestamp: events.SecondsEpochTime{Time: time.Unix(1_607_497_475, 0).UTC()}},
	} {
		r.KinesisSchemaVersion = "1.0"
		r.SequenceNumber = string(e.Numbers.Append(nil, 6, record.MakeSequence(1, uint64(i)+1)))
		want.Records = append(want.Records, events.KinesisEventRecord{
			AwsRegion: "us-east-1", EventID: "shardId-000000000006:" + r.SequenceNumber, EventName: "aws:kinesis:record", EventSource: "aws:kinesis",
			EventSourceArn: streamARN, EventVersion: "1.0", InvokeIdentityArn: roleARN, Kinesis: r,
		})
	}
	want.TimeWindowProperties = events.TimeWindowProperties{
		Window: events.Window{Start: events.RFC3339EpochTime{Time: e.Window.Start}, End: events.RFC3339EpochTime{Time: e.Window.End}},
		State:  map[string]string{"count": "3"}, ShardID: "shardId-000000000006", EventSourceARN: streamARN,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(near)); diff != "" {
		t.Error(diff)
	}
}

// near compares times as far as they are exact: those types read seconds as floating point.
func near(a, b time.Time) bool { return a.Sub(b).Abs() < time.Microsecond }

// strict decodes what must have no member that the type does not know.
func strict(t testing.TB, b []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
}

// TestShapes compares members and their kinds with the examples of aws-lambda-go.
func TestShapes(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/aws/aws-lambda-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	e := envelope()
	plain := Append(nil, e, three(t)[:1])
	e.Window = window(`{"1":"state 1","2":"state 2"}`)
	for name, got := range map[string][]byte{"kinesis-event.json": plain, "kinesis-time-window-event.json": Append(nil, e, three(t)[:1])} {
		want, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "events", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := shapeOf(t, got), shapeOf(t, want); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s", name, cmp.Diff(want, got))
		}
	}
}

// shapeOf has the kind of value at every path of a document; the items of a list share a path.
func shapeOf(t *testing.T, b []byte) map[string]string {
	t.Helper()
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	shape := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		shape[path] = reflect.TypeOf(v).String()
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				walk(path+"."+name, member)
			}
		case []any:
			for _, item := range v {
				walk(path+"[]", item)
			}
		}
	}
	walk("", doc)
	return shape
}

// TestText escapes every text as encoding/json does.
func TestText(t *testing.T) {
	check := func(t rapid.TB, s string) {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(s); err != nil {
			t.Fatal(err)
		}
		got := appendText(nil, []byte(s))
		if string(got) != strings.TrimSuffix(want.String(), "\n") || textSize(s) != len(got) {
			t.Fatalf("%q is written as %s (size %d), want %s", s, got, textSize(s), want.String())
		}
	}
	for c := range 0x180 {
		check(t, "a"+string(rune(c))+"b")
		check(t, "a"+string([]byte{byte(c)}))
	}
	for _, s := range []string{"", "\u2028\u2029\u2027\u202a", "日本語", "\xe2\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98", "<&>", "\ufffd"} {
		check(t, s)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))) })
}
