package aws

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/shardmill/shardmill/sdk/record"
)

// putOperation is the row of an operation by itself.
func putOperation(name string) operation {
	for _, op := range operations() {
		if op.name == name {
			return op
		}
	}
	panic(name)
}

// checkPut holds what the fast decoder says of a request against the slow way: what it takes, the slow way takes with the same outcome,
// and the body stays as it was.
func checkPut(t *testing.T, protocol codec, body []byte) {
	for name, many := range map[string]bool{"PutRecords": true, "PutRecord": false} {
		before := bytes.Clone(body)
		var fast putRequest
		s := putOperation(name).input
		if !protocol.readPut(body, &fast, many) || !fast.fits(s) {
			continue
		}
		if !bytes.Equal(before, body) {
			t.Fatalf("%s: the body was changed", name)
		}
		slow := putRequest{}
		tree, err := protocol.decode(body)
		if err != nil {
			t.Fatalf("%s: taken, and no document: %v", name, err)
		}
		if many {
			var in putRecordsInput
			err = bindAndValidate(s, tree, &in)
			slow.ref = in.streamRef
			for i := range in.Records {
				if e := slow.add(&in.Records[i]); err == nil {
					err = e
				}
			}
		} else {
			var in putRecordInput
			err = bindAndValidate(s, tree, &in)
			slow.ref, slow.ordering = in.streamRef, in.SequenceNumberForOrdering
			if e := slow.add(&in.putRecordsRequestEntry); err == nil {
				err = e
			}
		}
		if err != nil {
			t.Fatalf("%s: taken, and refused the slow way: %v", name, err)
		}
		if slow.ref != fast.ref || slow.ordering != fast.ordering || !sameRecords(slow.records, fast.records) {
			t.Fatalf("%s: %+v, want %+v", name, fast, slow)
		}
	}
}

func bindAndValidate(s *shape, tree, in any) error {
	if err := s.bind(tree, in); err != nil {
		return err
	}
	return s.validate(tree)
}

func sameRecords(a, b []record.Record) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].Key, b[i].Key) || !bytes.Equal(a[i].Data, b[i].Data) || !bytes.Equal(a[i].ExplicitHash, b[i].ExplicitHash) ||
			(a[i].ExplicitHash == nil) != (b[i].ExplicitHash == nil) {
			return false
		}
	}
	return true
}

// puts are requests in JSON; those in taken are of the usual form.
var puts = []struct {
	body  string
	many  bool
	taken bool
}{
	{`{"Records":[{"Data":"aGk=","PartitionKey":"k"}],"StreamName":"s"}`, true, true},
	{" {\n\t\"StreamName\" : \"s\" , \"Records\" : [ { \"PartitionKey\" : \"k\" , \"Data\" : \"\" } , {\"Data\":\"aGk=\",\"ExplicitHashKey\":\"0\",\"PartitionKey\":\"ké\"} ] } ", true, true},
	{`{"Records":[{"Data":"aGk=","PartitionKey":"\u00e9\"\\"}],"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s"}`, true, true},
	{`{"Records":[{"Data":"\/\/8=","PartitionKey":"k"}],"StreamName":"s"}`, true, true},
	{`{"StreamName":"s","Data":"aGk=","PartitionKey":"k","ExplicitHashKey":"340282366920938463463374607431768211455","SequenceNumberForOrdering":"1"}`, false, true},
	{`{"Records":[{"Data":"aGk","PartitionKey":"k"}],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":"aGl=","PartitionKey":"k"}],"StreamName":"s"}`, true, false},
	{"{\"Records\":[{\"Data\":\"aG\nk=\",\"PartitionKey\":\"k\"}],\"StreamName\":\"s\"}", true, false},
	{`{"Records":[{"PartitionKey":"k"}],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":null,"PartitionKey":"k"}],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":"","Data":"","PartitionKey":"k"}],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":"","PartitionKey":""}],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":"","PartitionKey":"k","Other":1}],"StreamName":"s"}`, true, false},
	{`{"Records":[],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":"","PartitionKey":"k"}],"StreamName":"s s"}`, true, false},
	{`{"Records":[{"Data":"","PartitionKey":"k"},],"StreamName":"s"}`, true, false},
	{`{"Records":[{"Data":"","PartitionKey":"k"}],"StreamName":"s"}x`, true, false},
	{`{"Records":[{"Data":"","PartitionKey":"k","ExplicitHashKey":"340282366920938463463374607431768211456"}]}`, true, false},
	{"{\"Records\":[{\"Data\":\"\",\"PartitionKey\":\"\xff\"}],\"StreamName\":\"s\"}", true, false},
	{`{}`, false, false},
	{`{`, false, false},
	{``, false, false},
}

func TestReadPutJSON(t *testing.T) {
	for _, tt := range puts {
		var p putRequest
		name := "PutRecord"
		if tt.many {
			name = "PutRecords"
		}
		if got := (jsonCodec{}).readPut([]byte(tt.body), &p, tt.many) && p.fits(putOperation(name).input); got != tt.taken {
			t.Errorf("%s is taken: %t, want %t", tt.body, got, tt.taken)
		}
		checkPut(t, jsonCodec{}, []byte(tt.body))
	}
}

// cborPuts are requests in CBOR as Java's writer makes them: maps and lists of unknown length, text in chunks.
var cborPuts = []struct {
	hex   string
	taken bool
}{
	{"bf675265636f7264739fbf64446174614268696c506172746974696f6e4b6579616bffff6a53747265616d4e616d656173ff", true},
	{"a2675265636f72647381a264446174614268696c506172746974696f6e4b65797f616b616bff6a53747265616d4e616d656173", true},
	{"a2675265636f72647381a2644461746162686 96c506172746974696f6e4b6579616b6a53747265616d4e616d656173", false}, // data as text
	{"a2675265636f72647381a164446174614268696a53747265616d4e616d656173", true},                                 // no partition key
	{"a2675265636f72647381a16c506172746974696f6e4b6579616b6a53747265616d4e616d656173", false},                  // no data
	{"bf675265636f7264739fbf644461746142", false},
	{"bf", false},
	{"f6", false},
	{"9b7fffffffffffffff", false},
}

func TestReadPutCBOR(t *testing.T) {
	for _, tt := range cborPuts {
		body := unhex(tt.hex)
		var p putRequest
		if got := (cborCodec{}).readPut(body, &p, true) && p.fits(putOperation("PutRecords").input); got != tt.taken {
			t.Errorf("%s is taken: %t, want %t", tt.hex, got, tt.taken)
		}
		checkPut(t, cborCodec{}, body)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		panic(err)
	}
	return b
}

func FuzzPutJSON(f *testing.F) {
	for _, tt := range puts {
		f.Add([]byte(tt.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkPut(t, jsonCodec{}, body) })
}

func FuzzPutCBOR(f *testing.F) {
	for _, tt := range cborPuts {
		f.Add(unhex(tt.hex))
	}
	f.Fuzz(func(t *testing.T, body []byte) { checkPut(t, cborCodec{}, body) })
}

// FuzzCBOR holds our reader against the library: what both take is the same.
func FuzzCBOR(f *testing.F) {
	for _, tt := range cborPuts {
		f.Add(unhex(tt.hex))
	}
	for _, s := range []string{"c11b0000018bcfe56800", "c1fb41d9536ab0000000", "f97e00", "fb3ff199999999999a", "d9d9f7a161610a", "3863", "f7", "1bffffffffffffffff"} {
		f.Add(unhex(s))
	}
	library, err := cbor.DecOptions{
		DefaultMapType: reflect.TypeFor[map[string]any](), MaxNestedLevels: maxDepth, IntDec: cbor.IntDecConvertSignedOrBigInt,
	}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := cborCodec{}.decode(b)
		var want any
		if err != nil || library.Unmarshal(b, &want) != nil || len(b) == 0 {
			return
		}
		if !sameTree(tree, want) {
			t.Fatalf("%x: %#v, want %#v", b, tree, want)
		}
	})
}

// sameTree compares where the two say the same thing: the library makes other things of tags and of the largest numbers.
func sameTree(got, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range w {
			if !sameTree(g[k], w[k]) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !sameTree(g[i], w[i]) {
				return false
			}
		}
		return true
	case float64:
		g, ok := got.(float64)
		return ok && (g == w || math.IsNaN(g) && math.IsNaN(w))
	case string, []byte, int64, bool, nil:
		return reflect.DeepEqual(got, want)
	}
	return true
}

func FuzzIterator(f *testing.F) {
	it := iterator{made: time.UnixMilli(1_800_000_000_000).UTC(), stream: "s", shard: 7, position: 1<<44 + 9}
	f.Add(it.String())
	f.Add(`"` + it.String() + `"`)
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseIterator(s, it.made)
		if err != nil {
			return
		}
		if again, err := parseIterator(got.String(), it.made); err != nil || again != got {
			t.Fatalf("%q: %+v, and again %+v, %v", s, got, again, err)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(token{Kind: tokenShards, Stream: "s", After: "shardId-000000000000", Filter: shardFilter{Type: "AT_LATEST"}}.String())
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := parseToken(s, tokenShards, time.Now()); err == nil && got.Kind != tokenShards {
			t.Fatalf("%q: %+v", s, got)
		}
	})
}

func FuzzARN(f *testing.F) {
	h := &Handler{region: DefaultRegion, account: DefaultAccount}
	f.Add(h.streamARN("s"))
	f.Add(h.consumerARN("s", "c", time.Unix(5, 0)))
	f.Fuzz(func(t *testing.T, s string) {
		a, err := h.parseARN(s)
		if err == nil && a.consumer != "" {
			if again, err := h.parseARN(h.consumerARN(a.stream, a.consumer, time.Unix(a.second, 0))); err != nil || again != a {
				t.Fatalf("%q: %+v, and again %+v, %v", s, a, again, err)
			}
		}
	})
}

// TestPutAllocates holds the decoders to the allocations stated in RATIONALE.md: none per record.
func TestPutAllocates(t *testing.T) {
	jsonBody, cborBody := benchBodies(t)
	for _, tt := range []struct {
		protocol codec
		body     []byte
	}{{jsonCodec{}, jsonBody}, {cborCodec{}, cborBody}} {
		var p putRequest
		got := testing.AllocsPerRun(20, func() {
			p.reset()
			if !tt.protocol.readPut(tt.body, &p, true) {
				t.Fatal("not read")
			}
		})
		if got > 4 {
			t.Errorf("%s: %.0f allocations for %d records", tt.protocol.mediaType(), got, benchRecords)
		}
	}
}

// TestCBORValues reads values of every kind.
func TestCBORValues(t *testing.T) {
	for text, want := range map[string]any{
		"00": int64(0), "1903e8": int64(1000), "1b7fffffffffffffff": int64(math.MaxInt64), "1bffffffffffffffff": float64(math.MaxUint64),
		"20": int64(-1), "3903e7": int64(-1000), "3bffffffffffffffff": -float64(math.MaxUint64), "f93c00": 1.0, "f90001": math.Ldexp(1, -24), "f97c00": math.Inf(1), "f9fc00": math.Inf(-1),
		"fa47c35000": 100000.0, "fb7e37e43c8800759c": 1.0e+300, "f4": false, "f5": true, "f6": nil, "f7": nil, "6161": "a", "7f61616162ff": "ab", "4101": []byte{1}, "5f41014102ff": []byte{1, 2},
		"80": []any{}, "9f01ff": []any{int64(1)}, "a0": map[string]any{}, "bf616101ff": map[string]any{"a": int64(1)}, "c11a514b67b0": instant(1363896240), "c1fb41d452d9ec200000": instant(1363896240500), "c06161": "a",
	} {
		got, err := cborCodec{}.decode(unhex(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, %v, want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{"18", "1c", "1f", "61", "61ff", "7f4161ff", "7f7f6161ffff", "ff", "a10101", "f8", "fc", "81", "9f", "0000", "c1f97e00", "5bffffffffffffffff"} {
		if got, err := (cborCodec{}).decode(unhex(text)); err == nil {
			t.Errorf("%s is %#v", text, got)
		}
	}
	deep := bytes.Repeat([]byte{0x81}, maxDepth+2)
	if _, err := (cborCodec{}).decode(append(deep, 0)); err == nil {
		t.Error("lists nest without end")
	}
}

// FuzzInput reads documents as the input of every operation: each is taken, or refused as what it is, and nothing else happens.
func FuzzInput(f *testing.F) {
	all := operations()
	for _, r := range routes() {
		if r.input != nil {
			all = append(all, r.operation)
		}
	}
	for _, s := range []string{
		`{"FunctionName":"f","BatchSize":0,"Enabled":"x","FunctionResponseTypes":["y"],"FilterCriteria":{"Filters":[{"Pattern":null},null]},"Topics":[]}`,
		`{"FunctionName":"f","Role":"r","Code":{"ZipFile":"AAA=","S3Bucket":{}},"RoutingConfig":{"AdditionalVersionWeights":{"1":0.5,"2":"x"}}}`,
		`{}`, `{"StreamName":5,"Tags":{"a":null,"":"b"}}`, `{"StreamName":"s","Tags":[]}`, `{"TagKeys":["",null,3]}`, `{"ShardLevelMetrics":["ALL","X"],"StreamName":null}`,
		`{"StartingPosition":{"Type":"NOW","Timestamp":1e300}}`, `{"Records":[null,{},{"Data":"x"}],"DryRun":"true"}`, `{"ShardFilter":{"Type":"AT_TIMESTAMP","Timestamp":-0.5}}`,
		`{"Limit":1e300,"MaxResults":-1,"ShardCount":0.5}`, `{"StreamConfigurationList":[{"StreamARN":"x"},null]}`,
	} {
		f.Add([]byte(s), false)
	}
	for _, s := range []string{"a0", "a1654c696d6974fb7ff8000000000000", "a16454616773a101c100", "a1675461674b65797380", "a16953747265616d4e616d65c11903e8"} {
		f.Add(unhex(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, binary bool) {
		protocol := codec(jsonCodec{media: typeJSON})
		if binary {
			protocol = cborCodec{}
		}
		tree, err := protocol.decode(b)
		if err != nil || tree == nil {
			return
		}
		for _, op := range all {
			in := reflect.New(op.input.typ)
			err := op.input.bind(tree, in.Interface())
			want := codeSerialization
			if err == nil {
				err, want = op.input.validate(tree), codeValidation
			}
			var refused *fault
			if err != nil && (!errors.As(err, &refused) || refused.code != want || refused.status != 400) {
				t.Fatalf("%s of %q is %v", op.name, b, err)
			}
			if refused != nil && len(protocol.encodeFault(refused)) > 1<<17 {
				t.Fatalf("%s of %q is answered with %d bytes", op.name, b, len(refused.message))
			}
		}
	})
}
