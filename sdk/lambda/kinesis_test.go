package lambda

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"pgregory.net/rapid"
)

// hostRecord is a record as the host writes it into an event; key is as it stands in JSON.
func hostRecord(key, number string, data []byte, millis int64, shard, role, region, arn string) string {
	return fmt.Sprintf(`{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"%s","sequenceNumber":"%s","data":"%s",`+
		`"approximateArrivalTimestamp":%d.%03d},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"%s:%s",`+
		`"eventName":"aws:kinesis:record","invokeIdentityArn":"%s","awsRegion":"%s","eventSourceARN":"%s"}`,
		key, number, base64.StdEncoding.EncodeToString(data), millis/1000, millis%1000, shard, number, role, region, arn)
}

const hostWindow = `,"window":{"start":"2020-12-09T07:04:00Z","end":"2020-12-09T07:06:00Z"},"state":{"1":"282"},"shardId":"shardId-000000000006",` +
	`"eventSourceARN":"arn:aws:kinesis:us-east-1:123456789012:stream/s","isFinalInvokeForWindow":false,"isWindowTerminatedEarly":true`

// sameAsJSON decodes an event both ways. taken says whether it was decoded without encoding/json.
func sameAsJSON(t interface{ Fatalf(string, ...any) }, payload []byte) (taken int) {
	for _, want := range []any{new(events.KinesisEvent), new(events.KinesisTimeWindowEvent)} {
		got := reflect.New(reflect.TypeOf(want).Elem())
		kinesis, window := isKinesis(got.Type().Elem())
		if !kinesis {
			t.Fatalf("%T is not known", want)
		}
		if !decodeKinesis(payload, got, window) {
			if !got.Elem().IsZero() {
				t.Fatalf("an event that is left to encoding/json is %+v", got.Elem())
			}
			continue
		}
		taken++
		if err := json.Unmarshal(payload, want); err != nil {
			t.Fatalf("encoding/json refuses it: %v\n%s", err, payload)
		}
		if !reflect.DeepEqual(got.Interface(), want) {
			t.Fatalf("got  %+v\nwant %+v", got.Elem(), want)
		}
	}
	return taken
}

func TestEventsOfTheHostAreDecodedAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []string
		for range rapid.IntRange(1, 5).Draw(t, "records") {
			key := rapid.StringMatching(`([a-zA-Z0-9 ./{}äß€,]|\\["\\nu]){1,20}`).Draw(t, "key")
			key = strings.ReplaceAll(key, `\u`, `\u20ac`)
			data := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "data")
			millis := rapid.OneOf(rapid.SampledFrom([]int64{1607497475123, 1607497475124}), rapid.Int64Range(0, 1e13)).Draw(t, "time")
			role := rapid.SampledFrom([]string{"arn:aws:iam::1:role/r", "", "other"}).Draw(t, "role")
			records = append(records, hostRecord(key, rapid.StringMatching(`[0-9]{1,56}`).Draw(t, "number"), data, millis, "shardId-000000000006", role, "us-east-1", "arn"))
		}
		event := `{"Records":[` + strings.Join(records, ",") + "]"
		if n := sameAsJSON(t, []byte(event+"}")); n != 2 {
			t.Fatalf("%d of 2 types are decoded without encoding/json: %s", n, event)
		}
		if n := sameAsJSON(t, []byte(event+hostWindow+"}")); n != 1 {
			t.Fatalf("with a window %d types are decoded without encoding/json: %s", n, event)
		}
	})
}

// Records that are written like the first one are read by comparing; others in between are read by themselves, and all are alike in the end.
func TestRecordsLikeTheFirst(t *testing.T) {
	record := func(key, number, shard, region string, size int) string {
		return hostRecord(key, number, make([]byte, size), 1607497475123, shard, "r", region, "arn")
	}
	const shard = "shardId-000000000006"
	first := record("k", "495", shard, "us-east-1", 10)
	for name, c := range map[string]struct {
		next string
		like bool
	}{
		"another key, number, size": {record("another key", "4951", shard, "us-east-1", 2000), true},
		"no data":                   {record("k", "1", shard, "us-east-1", 0), true},
		"an escape in the key":      {record(`k\n`, "496", shard, "us-east-1", 10), false},
		"a key that is not ASCII":   {record("ä", "496", shard, "us-east-1", 10), false},
		"another shard":             {record("k", "496", "shardId-000000000007", "us-east-1", 10), false},
		"another region":            {record("k", "496", shard, "us-east-2", 10), false},
	} {
		payload := []byte(`{"Records":[` + first + "," + c.next + "," + first + `]}`)
		if n := sameAsJSON(t, payload); n != 2 {
			t.Errorf("%s: %d of 2 types are decoded without encoding/json", name, n)
		}
		r := reader{b: []byte(first), pairs: base64Pairs()}
		var a, b kinesisRecord
		like := r.first(&a)
		r.b = []byte(c.next + "]")
		if got := r.next(&b, &a, &like); got != c.like || got && string(r.b) != "]" {
			t.Errorf("%s: read by comparing: %t, want %t; left %q", name, got, c.like, r.b)
		}
		for cut := range c.next {
			r.b = []byte(c.next[:cut])
			if r.next(&b, &a, &like) || len(r.b) != cut {
				t.Errorf("%s: cut at %d it is read", name, cut)
			}
		}
	}
}

// A record costs a share of the allocations of IDs and data, and its key's, where that is not the first one's.
func TestDecodingAllocatesLittle(t *testing.T) {
	const n, shares = 160, 2*160/slabTakes + 12
	for name, c := range map[string]struct {
		keys int
		most float64
	}{"keys of their own": {n, n + shares}, "one key": {1, shares}} {
		var records []string
		for i := range n {
			records = append(records, hostRecord(fmt.Sprint("key", i%c.keys), fmt.Sprintf("%056d", i), make([]byte, 1024), 1607497475123, "shardId-000000000006", "r", "us-east-1", "arn"))
		}
		payload := []byte(`{"Records":[` + strings.Join(records, ",") + `]}`)
		allocs := testing.AllocsPerRun(10, func() {
			if !decodeKinesis(payload, reflect.ValueOf(new(events.KinesisEvent)), false) {
				t.Fatal("not decoded")
			}
		})
		if allocs > c.most {
			t.Errorf("%s: %v allocations for %d records, want at most %v", name, allocs, n, c.most)
		}
	}
}

func TestOtherEventsAreLeftToJSON(t *testing.T) {
	plain := hostRecord("k", "495", []byte("data"), 1607497475000, "shardId-000000000006", "r", "us-east-1", "arn")
	event := `{"Records":[` + plain + `]}`
	if n := sameAsJSON(t, []byte(event)); n != 2 {
		t.Fatalf("%d of 2 types are decoded without encoding/json: %s", n, event)
	}
	for name, payload := range map[string]string{
		"a blank":                strings.Replace(event, ",", ", ", 1),
		"a blank at the end":     event + "\n",
		"no record":              `{"Records":[]}`,
		"an escape that is none": strings.Replace(event, `"k"`, `"\q"`, 1),
		"a key that never ends":  event[:strings.Index(event, `"k"`)+1] + `\"`,
		"a control character":    strings.Replace(event, `"k"`, "\"\x01\"", 1),
		"a key that is no UTF-8": strings.Replace(event, `"k"`, "\"\xff\"", 1),
		"a line break in base64": strings.Replace(event, `ZGF0`, "ZG\nF0", 1),
		"a short time":           strings.Replace(event, `475.000`, `475`, 1),
		"a leading zero":         strings.Replace(event, `1607497475.000`, `01607497475.000`, 1),
		"a time before 1970":     strings.Replace(event, `1607497475.000`, `-1607497475.000`, 1),
		"a fine time":            strings.Replace(event, `475.000`, `475.0001`, 1),
		"another number":         strings.Replace(event, `:495"`, `:496"`, 1),
		"another source":         strings.Replace(event, `aws:kinesis"`, `aws:other"`, 1),
		"records twice":          strings.Replace(event, `]}`, `],"records":[]}`, 1),
		"more records then":      strings.Replace(event, `]}`, `],"Records":[`+plain+","+plain+`]}`, 1),
		"records, and then null": strings.Replace(event, `]}`, `],"records":null}`, 1),
		"a comma and no window":  strings.Replace(event, `]}`, `],}`, 1),
		"a comma and a blank":    strings.Replace(event, `]}`, `], }`, 1),
		"a wrong window":         strings.Replace(event, `]}`, `],"window":1}`, 1),
		"a lost end":             event[:len(event)-1],
		"two records, no comma":  `{"Records":[` + plain + plain + `]}`,
		"nothing":                "",
	} {
		if n := sameAsJSON(t, []byte(payload)); n != 0 {
			t.Errorf("%s: decoded without encoding/json: %s", name, payload)
		}
	}
	for end := range len(event) {
		if n := sameAsJSON(t, []byte(event[:end])); n != 0 {
			t.Errorf("cut at %d it is decoded", end)
		}
	}
}

func FuzzDecodeKinesis(f *testing.F) {
	plain := hostRecord("k", "495", []byte("data"), 1607497475123, "shardId-000000000006", "r", "us-east-1", "arn")
	f.Add([]byte(`{"Records":[` + plain + "," + plain + `]}`))
	f.Add([]byte(`{"Records":[` + plain + `]` + hostWindow + `}`))
	digit := strings.Replace(plain, "1607497475.123", "1607497475.1234", 1)
	later := strings.Replace(plain, "1607497475.123", "1607497475.124", 1)
	f.Add([]byte(`{"Records":[` + strings.Join([]string{plain, plain, digit, later, later, plain}, ",") + `]}`))
	f.Fuzz(func(t *testing.T, payload []byte) { sameAsJSON(t, payload) })
}

// Types that only look like the event of a stream are not taken for one.
func TestIsKinesis(t *testing.T) {
	type KinesisEvent struct{ Records []string }
	for _, v := range []any{KinesisEvent{}, &events.KinesisEvent{}, events.KinesisEventRecord{}, events.KinesisFirehoseEvent{}, "", kinesisEvent{}} {
		if kinesis, _ := isKinesis(reflect.TypeOf(v)); kinesis {
			t.Errorf("%T is taken for the event of a stream", v)
		}
	}
	type record struct {
		Records []struct{ A, B string }
	}
	if alike(reflect.TypeFor[record](), reflect.TypeFor[kinesisEvent]()) {
		t.Error("a type of another layout is alike")
	}
}

// eventOf is an event of so many records of so many bytes, as the host writes it.
func eventOf(n, size int) []byte {
	var records []string
	for i := range n {
		records = append(records, hostRecord("key", fmt.Sprintf("%056d", i), make([]byte, size), 1607497475123, "shardId-000000000006", "arn:aws:iam::1:role/r", "us-east-1", "arn:aws:kinesis:us-east-1:1:stream/s"))
	}
	return []byte(`{"Records":[` + strings.Join(records, ",") + `]}`)
}

func BenchmarkDecodeKinesis(b *testing.B) {
	event := eventOf(500, 1024)
	b.SetBytes(int64(len(event)))
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			if !decodeKinesis(event, reflect.ValueOf(new(events.KinesisEvent)), false) {
				b.Fatal("not decoded")
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			if err := json.Unmarshal(event, new(events.KinesisEvent)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The host's own events, as its package has them on file, are not left to encoding/json.
func TestEventsOnFile(t *testing.T) {
	for name, want := range map[string]int{"batch.json": 2, "window.json": 1, "final.json": 0} {
		payload, err := os.ReadFile(filepath.Join("..", "..", "triggers", "event", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if n := sameAsJSON(t, bytes.TrimSpace(payload)); n != want {
			t.Errorf("%s is decoded without encoding/json into %d types, want %d", name, n, want)
		}
	}
}
