package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

var update = flag.Bool("update", false, "write the golden file")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shard is a mapping's work on one shard: the tables outlive the windows.
type shard struct {
	tables sdktest.Tables
}

// minute hands over the payments of one minute, in batches, and then its end; what is emitted is a line each.
func (s *shard) minute(t *testing.T, n int, payments []sdk.Record) (lines []string) {
	t.Helper()
	start := noon.Add(time.Duration(n) * time.Minute)
	c := sdktest.Call{Tables: s.tables, Window: sdk.Window{Start: start, End: start.Add(time.Minute)}}
	for batch := range slices.Chunk(payments, 7) {
		res := c.Batch(t, add, batch...)
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		c.State = res.State
	}
	return s.end(t, c)
}

func (s *shard) end(t *testing.T, c sdktest.Call) (lines []string) {
	t.Helper()
	res := c.WindowEnd(t, compare)
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	for _, r := range res.Emitted["spikes"] {
		lines = append(lines, fmt.Sprintf("%s %s", r.Key, r.Data))
	}
	return lines
}

// Sixteen minutes of payments give exactly these spikes.
func TestSpikesOfPayments(t *testing.T) {
	byMinute := map[int][]sdk.Record{}
	for _, r := range sdktest.Lines(t, "testdata/payments.ndjson", "merchant") {
		var p struct{ At time.Time }
		if err := json.Unmarshal(r.Data, &p); err != nil {
			t.Fatal(err)
		}
		byMinute[p.At.Minute()] = append(byMinute[p.At.Minute()], r)
	}
	s := shard{sdktest.Tables{"windows": nil}}
	var got bytes.Buffer
	for n := range len(byMinute) {
		for _, line := range s.minute(t, n, byMinute[n]) {
			fmt.Fprintln(&got, line)
		}
	}
	const golden = "testdata/spikes.golden"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

func payment(cents int) sdk.Record {
	return sdk.Record{Key: []byte("m"), Data: fmt.Appendf(nil, `{"merchant":"m","cents":%d}`, cents)}
}

// The mean is that of ten windows, quiet ones included; too few say nothing, and old ones do not count.
func TestMean(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cents []int // by minute; 0: nothing is paid
		spike bool  // in the last one
	}{
		{"too early", []int{100, 100, 100, 100, 10_000}, false},
		{"early enough", []int{100, 100, 100, 100, 100, 301}, true},
		{"not more than three times", []int{100, 100, 100, 100, 100, 300}, false},
		{"quiet minutes count", []int{600, 0, 0, 0, 0, 0, 301}, true},
		{"a quiet one is no spike", []int{600, 600, 600, 600, 600, 600, 0}, false},
		{"old ones do not count", []int{9000, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 301}, true},
		{"the tenth before counts", []int{9000, 100, 100, 100, 100, 100, 100, 100, 100, 100, 301}, false},
		{"known long ago", []int{100, 100, 100, 100, 100, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9000}, false},
	} {
		s := shard{sdktest.Tables{"windows": nil}}
		var last []string
		for n, cents := range tt.cents {
			var payments []sdk.Record
			if cents > 0 {
				payments = []sdk.Record{payment(cents)}
			}
			last = s.minute(t, n, payments)
		}
		if (len(last) == 1) != tt.spike {
			t.Errorf("%s: %q", tt.name, last)
		}
	}
}

// A window that ends again has the same spikes, and counts once.
func TestWindowEndsTwice(t *testing.T) {
	s := shard{sdktest.Tables{"windows": nil}}
	for n := range 6 {
		s.minute(t, n, []sdk.Record{payment(100)})
	}
	start := noon.Add(6 * time.Minute)
	c := sdktest.Call{Tables: s.tables, Window: sdk.Window{Start: start, End: start.Add(time.Minute)}, State: []byte(`{"m":500}`)}
	first := s.end(t, c)
	remembered := s.tables["windows"]["m"]
	if again := s.end(t, c); len(first) != 1 || !slices.Equal(again, first) || s.tables["windows"]["m"] != remembered {
		t.Errorf("%q, then %q; remembered %s, then %s", first, again, remembered, s.tables["windows"]["m"])
	}
}

func TestOtherRecordsAreRejected(t *testing.T) {
	c := sdktest.Call{Window: sdk.Window{Start: noon, End: noon.Add(time.Minute)}}
	var records []sdk.Record
	for _, data := range []string{``, `[]`, `{"merchant":"a"}`, `{"cents":1}`, `{"merchant":"a","cents":-1}`, `{"merchant":"a","cents":1.5}`} {
		records = append(records, sdk.Record{Data: []byte(data)})
	}
	res := c.Batch(t, add, append(records, payment(7))...)
	for i, o := range res.Outcomes[:len(records)] {
		if o.String() != "rejected: not a payment" {
			t.Errorf("%s: %s", records[i].Data, o)
		}
	}
	if res.Err != nil || string(res.State) != `{"m":7}` {
		t.Errorf("%+v, state %s", res.Err, res.State)
	}
	c.State = []byte("[")
	if res := c.Batch(t, add, payment(7)); res.Err == nil || !strings.Contains(res.Err.Message, "the window's state") {
		t.Errorf("%+v", res.Err)
	}
}
