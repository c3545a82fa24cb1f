package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
)

// TestSize has Size say what Append writes, and the event be JSON, whatever is in it.
func TestSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := envelope()
		e.Role, e.StreamARN = rapid.String().Draw(t, "role"), rapid.String().Draw(t, "arn")
		e.Shard = rapid.Uint32().Draw(t, "shard")
		if rapid.Bool().Draw(t, "windowed") {
			e.Window = &Window{
				Start: time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "start"), 0), End: time.Unix(rapid.Int64Range(-1e9, 1e11).Draw(t, "end"), 0),
				Final: rapid.Bool().Draw(t, "final"), EndedEarly: rapid.Bool().Draw(t, "early"),
			}
			if rapid.Bool().Draw(t, "state") {
				e.Window.State = []byte(`{"a":"b"}`)
			}
		}
		var b record.Builder
		for range rapid.IntRange(0, 5).Draw(t, "records") {
			if err := b.Append(record.Record{
				Sequence: record.MakeSequence(1, rapid.Uint64Range(1, 1<<44-1).Draw(t, "sequence")), Arrival: rapid.Int64Range(-1e17, 1e17).Draw(t, "arrival"),
				Key: rapid.SliceOf(rapid.Byte()).Draw(t, "key"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
			}); err != nil {
				t.Fatal(err)
			}
		}
		head, tail := b.Run().Split(2)
		runs := []record.Run{head, {}, tail}
		got := Append([]byte("before"), e, runs)[len("before"):]
		if len(got) != Size(e, runs) {
			t.Fatalf("%d bytes, Size said %d:\n%s", len(got), Size(e, runs), got)
		}
		if !json.Valid(got) {
			t.Fatalf("no JSON: %s", got)
		}
	})
}

// TestFit cuts a batch where the event reaches the limit, to the byte.
func TestFit(t *testing.T) {
	e := envelope()
	big := func(bytes int) record.Record { return record.Record{Key: []byte("k"), Data: make([]byte, bytes)} }
	rest := MaxBytes - Size(e, batchOf(t, big(0))) // what base64 of the data may take
	exact := rest / 4 * 3
	for _, tt := range []struct {
		name    string
		records []record.Record
		want    int
	}{
		{"nothing", nil, 0},
		{"as much as fits", []record.Record{big(exact)}, 1},
		{"three bytes more", []record.Record{big(exact + 3)}, 0},
		{"no room for a second one", []record.Record{big(exact - 300), big(0)}, 1},
		{"room for a second one", []record.Record{big(exact - 600), big(0)}, 2},
	} {
		runs := batchOf(t, tt.records...)
		if got := Fit(e, runs); got != tt.want {
			t.Errorf("%s: %d records fit, want %d", tt.name, got, tt.want)
		}
		var fitting record.Builder
		n := 0
		for _, run := range runs {
			for r := range run.All() {
				if n < tt.want {
					if err := fitting.Append(r); err != nil {
						t.Fatal(err)
					}
				}
				n++
			}
		}
		if got := len(Append(nil, e, []record.Run{fitting.Run()})); got > MaxBytes {
			t.Errorf("%s: the event has %d bytes", tt.name, got)
		}
	}
}

// TestAppendAllocates nothing, with room, whatever the keys are.
func TestAppendAllocates(t *testing.T) {
	e, runs := envelope(), three(t)
	e.Window = window(`{"a":"b"}`)
	into := make([]byte, 0, Size(e, runs))
	if got := testing.AllocsPerRun(100, func() { into = Append(into[:0], e, runs) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestTimes writes times of every size as seconds, rounded towards the past.
func TestTimes(t *testing.T) {
	for micros, want := range map[int64]string{
		0: "0.000", 999: "0.000", 1000: "0.001", 1_545_084_650_987_999: "1545084650.987", 1_607_497_475_000_000: "1607497475.000",
		-1: "-0.001", -1000: "-0.001", -1_001: "-0.002", -2_500_000: "-2.500", 1e15: "1000000000.000", 1e16 - 1: "9999999999.999", 1e16: "10000000000.000",
	} {
		if got := string(appendSeconds(nil, micros)); got != want || secondsSize(micros) != len(want) {
			t.Errorf("%d µs are %s (size %d), want %s", micros, got, secondsSize(micros), want)
		}
	}
}

func benchBatch(tb testing.TB, n int) []record.Run {
	records := make([]record.Record, n)
	for i := range records {
		records[i] = record.Record{Key: fmt.Appendf(nil, "key-%06d", i), Data: bytes.Repeat([]byte{byte(i)}, 1024)}
	}
	return batchOf(tb, records...)
}

func BenchmarkAppend(b *testing.B) {
	e, runs := envelope(), benchBatch(b, 100)
	into := make([]byte, 0, Size(e, runs))
	b.ReportAllocs()
	b.SetBytes(100 * 1024)
	for b.Loop() {
		into = Append(into[:0], e, runs)
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkFit(b *testing.B) {
	e, runs := envelope(), benchBatch(b, 100)
	b.ReportAllocs()
	for b.Loop() {
		Fit(e, runs)
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkParseReply(b *testing.B) {
	e, runs := envelope(), benchBatch(b, 100)
	for name, body := range map[string]string{
		"ok": `{"batchItemFailures":[]}`, "all": failuresOf(e, runs),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseReply([]byte(body), e, runs, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
