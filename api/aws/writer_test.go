package aws

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// TestResults checks what PutRecords says of records that were put and that were not.
func TestResults(t *testing.T) {
	numbers := sequence.Of("01KBKT5N9Q0000000000000000")
	results := []shards.Result{
		{Shard: 3, Sequence: record.MakeSequence(1, 9)},
		{Shard: 2, Err: shards.ErrThrottled},
		{Err: errors.New("x")},
	}
	want := []map[string]any{
		{"SequenceNumber": string(numbers.Append(nil, 3, record.MakeSequence(1, 9))), "ShardId": "shardId-000000000003"},
		{"ErrorCode": codeThrottled, "ErrorMessage": "Rate exceeded for shard shardId-000000000002 in stream s under account N."},
		{"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"},
	}
	c := &call{Handler: &Handler{account: "N"}, names: names{stream: "s"}}
	for _, tt := range []struct {
		protocol  codec
		unmarshal func([]byte, any) error
	}{{jsonCodec{}, json.Unmarshal}, {cborCodec{}, cbor.Unmarshal}} {
		w := tt.protocol.writer(nil)
		w.open(1)
		w.list("Records", len(results))
		for i := range results {
			c.writeResult(w, numbers, &results[i])
		}
		w.closeList()
		w.close()
		var got struct{ Records []map[string]any }
		if err := tt.unmarshal(w.bytes(), &got); err != nil || !reflect.DeepEqual(got.Records, want) {
			t.Errorf("%s: %v, %v\nwant %v", tt.protocol.mediaType(), got.Records, err, want)
		}
	}
}

// FuzzWriters writes with both writers and reads with the libraries.
func FuzzWriters(f *testing.F) {
	f.Add("k", []byte("data"), int64(5))
	f.Add("é\"\\\n\x7f ", []byte{}, int64(-1))
	f.Add(strings.Repeat("x", 300), make([]byte, 70000), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, key string, data []byte, n int64) {
		key = strings.ToValidUTF8(key, "?")
		type document struct {
			Key  string
			Text string
			Data []byte
			N    int64
		}
		want := document{key, key, data, n}
		for _, tt := range []struct {
			protocol  codec
			unmarshal func([]byte, any) error
		}{{jsonCodec{}, json.Unmarshal}, {cborCodec{}, cbor.Unmarshal}} {
			w := tt.protocol.writer(nil)
			w.open(4)
			w.key("Key", []byte(key))
			w.text("Text", key)
			w.blob("Data", data)
			w.integer("N", n)
			w.close()
			var got document
			if err := tt.unmarshal(w.bytes(), &got); err != nil || got.Key != want.Key || got.Text != want.Text || string(got.Data) != string(data) || got.N != n {
				t.Fatalf("%s: %q is read as %+v, %v", tt.protocol.mediaType(), w.bytes(), got, err)
			}
		}
	})
}

func TestSeconds(t *testing.T) {
	for millis, want := range map[int64]string{
		1545084650987: "1545084650.987", 0: "0.000", 7: "0.007", 1000: "1.000", -1: "-0.001", -1500: "-1.500",
	} {
		if got := string(appendSeconds(nil, millis)); got != want {
			t.Errorf("%d milliseconds are %s, want %s", millis, got, want)
		}
		b, err := jsonCodec{}.encode(struct{ T instant }{instant(millis)})
		if err != nil || string(b) != `{"T":`+want+`}` {
			t.Errorf("%d milliseconds are %s, %v", millis, b, err)
		}
	}
	b, err := cborCodec{}.encode(struct{ T instant }{1545084650987})
	if want := "\xa1aT\xc1\x1b\x00\x00\x01\x67\xbe\x38\xc5\xeb"; err != nil || string(b) != want {
		t.Errorf("CBOR has %x, %v, want %x", b, err, want)
	}
}

func TestShardName(t *testing.T) {
	for _, id := range []shards.ShardID{0, 7, 10, 999, math.MaxUint32} {
		if got := string(appendShard(nil, id)); got != id.String() {
			t.Errorf("shard %d is %s, want %s", id, got, id)
		}
	}
}

func TestParseHash(t *testing.T) {
	for text, good := range map[string]bool{
		"0": true, "1": true, "18446744073709551616": true, "340282366920938463463374607431768211455": true,
		"340282366920938463463374607431768211456": false, "999999999999999999999999999999999999999": false, "01": false, "": false, "-1": false, "1x": false,
		"1000000000000000000000000000000000000000": false,
	} {
		got, ok := parseHash([]byte(text))
		want, err := shards.ParseHash(text)
		if ok != good || ok != (err == nil) || ok && got != want {
			t.Errorf("%q is %v, %t, want %v, %v", text, got, ok, want, err)
		}
	}
}
