package aws

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/shardmill/shardmill/shards"
)

// iterator is an iterator of a shard's oldest record.
func (r *rig) iterator(stream, shard string) *string {
	r.t.Helper()
	return ok(r.GetShardIterator(r.ctx, &kinesis.GetShardIteratorInput{
		StreamName: &stream, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	}))(r.t).ShardIterator
}

// all are the records of a shard.
func (r *rig) all(stream, shard string) []types.Record {
	r.t.Helper()
	var all []types.Record
	for it := r.iterator(stream, shard); it != nil; {
		out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(r.t)
		all = append(all, out.Records...)
		if len(out.Records) == 0 {
			break
		}
		it = out.NextShardIterator
	}
	return all
}

func TestPutAndGet(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	data := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte{0xff, 0}, 1000), []byte("four")}
	var put []string
	for i, d := range data {
		out := ok(r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: &name, Data: d, PartitionKey: aws.String(fmt.Sprintf("kéy\"%d", i))}))(t)
		if *out.ShardId != "shardId-000000000000" || len(*out.SequenceNumber) != 56 {
			t.Errorf("record %d is in %s as %s", i, *out.ShardId, *out.SequenceNumber)
		}
		put = append(put, *out.SequenceNumber)
	}
	got := r.all(name, "shardId-000000000000")
	if len(got) != len(data) {
		t.Fatalf("got %d records, want %d", len(got), len(data))
	}
	for i, rec := range got {
		if !bytes.Equal(rec.Data, data[i]) || *rec.PartitionKey != fmt.Sprintf("kéy\"%d", i) || *rec.SequenceNumber != put[i] {
			t.Errorf("record %d is %q under %q as %s, want %q as %s", i, rec.Data, *rec.PartitionKey, *rec.SequenceNumber, data[i], put[i])
		}
		if i > 0 && *rec.SequenceNumber <= *got[i-1].SequenceNumber {
			t.Errorf("record %d has the number %s behind %s", i, *rec.SequenceNumber, *got[i-1].SequenceNumber)
		}
		if rec.ApproximateArrivalTimestamp == nil || rec.EncryptionType != "" {
			t.Errorf("record %d arrived %v with encryption %q", i, rec.ApproximateArrivalTimestamp, rec.EncryptionType)
		}
	}
}

func TestPutRecords(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 4)
	in := &kinesis.PutRecordsInput{StreamName: &name}
	for i := range 500 {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{Data: []byte(fmt.Sprint(i)), PartitionKey: aws.String(fmt.Sprint(i))})
	}
	in.Records[7].ExplicitHashKey = aws.String("340282366920938463463374607431768211455")
	out := ok(r.PutRecords(r.ctx, in))(t)
	if *out.FailedRecordCount != 0 || len(out.Records) != 500 || *out.Records[7].ShardId != "shardId-000000000003" {
		t.Fatalf("%d failed, %d results, record 7 in %s", *out.FailedRecordCount, len(out.Records), *out.Records[7].ShardId)
	}
	found := map[string]string{}
	for i := range 4 {
		shard := fmt.Sprintf("shardId-%012d", i)
		for _, rec := range r.all(name, shard) {
			found[string(rec.Data)] = shard + *rec.SequenceNumber
		}
	}
	for i, res := range out.Records {
		if found[fmt.Sprint(i)] != *res.ShardId+*res.SequenceNumber {
			t.Errorf("record %d was said to be %s %s, and is %s", i, *res.ShardId, *res.SequenceNumber, found[fmt.Sprint(i)])
		}
	}
}

func TestPutRefuses(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	key := aws.String("k")
	one := func(change func(*kinesis.PutRecordInput)) error {
		in := &kinesis.PutRecordInput{StreamName: &name, Data: []byte("x"), PartitionKey: key}
		change(in)
		_, err := r.PutRecord(r.ctx, in)
		return err
	}
	refused(t, one(func(in *kinesis.PutRecordInput) { in.StreamName = aws.String("nope") }), "ResourceNotFoundException",
		"Stream nope under account 000000000000 not found.")
	refused(t, one(func(in *kinesis.PutRecordInput) { in.StreamName = nil }), "InvalidArgumentException", "")
	refused(t, one(func(in *kinesis.PutRecordInput) { in.PartitionKey = nil }), "ValidationException",
		"1 validation error detected: Value null at 'partitionKey' failed to satisfy constraint: Member must not be null")
	refused(t, one(func(in *kinesis.PutRecordInput) {
		in.ExplicitHashKey = aws.String("340282366920938463463374607431768211456")
	}), "InvalidArgumentException",
		"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was 340282366920938463463374607431768211456")
	refused(t, one(func(in *kinesis.PutRecordInput) { in.ExplicitHashKey = aws.String("01") }), "ValidationException",
		`1 validation error detected: Value '01' at 'explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})`)
	refused(t, one(func(in *kinesis.PutRecordInput) { in.Data = make([]byte, 1<<20+1) }), "ValidationException",
		"1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1048577 cap=1048577]' at 'data' failed to satisfy constraint: Member must have length less than or equal to 1048576")
	refused(t, one(func(in *kinesis.PutRecordInput) { in.Data = make([]byte, 1<<20) }), "ValidationException",
		"1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1048576 cap=1048576]' at 'data' failed to satisfy constraint: "+
			"Member and partition key together must have length less than or equal to 1048576")
	refused(t, one(func(in *kinesis.PutRecordInput) { in.DryRun = aws.Bool(true) }), "DryRunOperationException", "")
	refused(t, one(func(in *kinesis.PutRecordInput) { in.SequenceNumberForOrdering = aws.String("7") }), "InvalidArgumentException",
		"ExclusiveMinimumSequenceNumber 7 used in PutRecord on stream s under account 000000000000 is invalid.")
	refused(t, one(func(in *kinesis.PutRecordInput) {
		in.StreamName, in.PartitionKey, in.ExplicitHashKey = aws.String("a b"), aws.String(strings.Repeat("é", 257)), aws.String("x")
	}), "ValidationException", "3 validation errors detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; "+
		`Value 'x' at 'explicitHashKey' failed to satisfy constraint: Member must satisfy regular expression pattern: 0|([1-9]\d{0,38}); `+
		"Value '"+strings.Repeat("é", 257)+"' at 'partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256")
	if got := r.all(name, "shardId-000000000000"); len(got) != 0 {
		t.Errorf("%d records were put nevertheless", len(got))
	}

	many := &kinesis.PutRecordsInput{StreamName: &name, Records: []types.PutRecordsRequestEntry{}}
	_, err := r.PutRecords(r.ctx, many)
	refused(t, err, "ValidationException", "")
	for range 501 {
		many.Records = append(many.Records, types.PutRecordsRequestEntry{Data: []byte("x"), PartitionKey: key})
	}
	_, err = r.PutRecords(r.ctx, many)
	refused(t, err, "ValidationException", "")
	many.Records = many.Records[:3]
	many.Records[1].PartitionKey = aws.String("")
	_, err = r.PutRecords(r.ctx, many)
	refused(t, err, "ValidationException", "1 validation error detected: Value '' at 'records.2.member.partitionKey' failed to satisfy constraint: Member must have length greater than or equal to 1")
	many.Records = nil
	for range 11 {
		many.Records = append(many.Records, types.PutRecordsRequestEntry{Data: make([]byte, 1<<20-10), PartitionKey: key})
	}
	_, err = r.PutRecords(r.ctx, many)
	refused(t, err, "InvalidArgumentException", "Records size exceeds 10 MB limit")
	many.Records = many.Records[:10]
	if out := ok(r.PutRecords(r.ctx, many))(t); *out.FailedRecordCount != 0 {
		t.Errorf("%d of ten records of 1 MiB failed", *out.FailedRecordCount)
	}
}

// TestUnusualPuts sends puts of a form that the fast decoders leave to the slow way: they are put all the same.
func TestUnusualPuts(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	for i, body := range []string{
		`{"StreamName":"s","Records":[{"Data":"MA==","PartitionKey":"k","ExplicitHashKey":null}]}`,
		`{"StreamName":"s","Records":[{"Data":"MQ==","PartitionKey":"k","New":{"member":[1]}}],"DryRun":false}`,
		`{"StreamName":"x","StreamName":"s","Records":[{"Data":"Mg==","PartitionKey":"k","ExplicitHashKey":"7"}]}`,
		`{"StreamName":"s","Records":[{"Data":"Mw\u003d\u003d","PartitionKey":"\u006b"}]}`,
	} {
		if got := r.json("PutRecords", body); got.status != 200 || !strings.Contains(string(got.body), `"FailedRecordCount":0`) {
			t.Errorf("put %d is answered %d %s", i, got.status, got.body)
		}
	}
	if got := r.json("PutRecord", `{"StreamName":"s","Data":"NA==","PartitionKey":"k","ExplicitHashKey":null}`); got.status != 200 {
		t.Errorf("PutRecord is answered %d %s", got.status, got.body)
	}
	all := r.all(name, firstShard)
	same(t, data(all), []string{"0", "1", "2", "3", "4"})
	for _, rec := range all {
		if *rec.PartitionKey != "k" {
			t.Errorf("a record has the key %q", *rec.PartitionKey)
		}
	}
	got := r.json("PutRecords", `{"StreamName":"s","Records":[{"Data":"","PartitionKey":"k"},{"Data":""}]}`)
	if !strings.Contains(string(got.body), "Value null at 'records.2.member.partitionKey' failed to satisfy constraint: Member must not be null") {
		t.Errorf("a record without a key is answered %s", got.body)
	}
	// The newest number there is can be the one to be above.
	out := ok(r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: &name, Data: []byte("5"), PartitionKey: aws.String("k"), SequenceNumberForOrdering: all[4].SequenceNumber}))(t)
	if *out.SequenceNumber <= *all[4].SequenceNumber {
		t.Errorf("%s comes behind %s", *out.SequenceNumber, *all[4].SequenceNumber)
	}
}

// TestBodyBreaksOff sends less than it says.
func TestBodyBreaksOff(t *testing.T) {
	r := newRig(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	r.must(err)
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nX-Amz-Target: %sListStreams\r\nContent-Length: 50\r\n\r\n{", typeJSON, targetPrefix)
	r.must(conn.(*net.TCPConn).CloseWrite())
	answer := ok(io.ReadAll(conn))(t)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) || !bytes.Contains(answer, []byte(`{"__type":"SerializationException","Message":"The body broke off before its end."}`)) {
		t.Errorf("it is answered %s", answer)
	}
	for err, want := range map[error]string{
		os.ErrDeadlineExceeded: "RequestTimeoutException", io.ErrUnexpectedEOF: codeSerialization, nil: "RequestEntityTooLargeException",
	} {
		if f, is := bodyFault(err, maxBody, false).(*fault); !is || f.code != want {
			t.Errorf("%v is %v, want %s", err, f, want)
		}
	}
}

// TestWriteLimits puts more than a shard takes under AWS's limits: those records fail by themselves, the others are put.
func TestWriteLimits(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits = shards.LimitsAWS })
	name := r.stream("s", 1)
	in := &kinesis.PutRecordsInput{StreamName: &name}
	for range 500 {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{Data: []byte("x"), PartitionKey: aws.String("k")})
	}
	failed, put := 0, 0
	for range 4 {
		out := ok(r.PutRecords(r.ctx, in))(t)
		failed += int(*out.FailedRecordCount)
		for _, res := range out.Records {
			if res.SequenceNumber != nil {
				put++
			} else if *res.ErrorCode != codeThrottled || *res.ErrorMessage != "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000." || res.ShardId != nil {
				t.Fatalf("a record fails with %s: %s", *res.ErrorCode, *res.ErrorMessage)
			}
		}
	}
	if failed < 500 || failed+put != 2000 {
		t.Errorf("of 2,000 records in a moment %d are put and %d fail", put, failed)
	}
	if got := len(r.all(name, firstShard)); got != put {
		t.Errorf("%d records are there, %d were put", got, put)
	}
	for range 1200 {
		if _, err := r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: &name, Data: make([]byte, 1<<19), PartitionKey: aws.String("k")}); err != nil {
			refused(t, err, codeThrottled, "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.")
			return
		}
	}
	t.Error("PutRecord is never throttled")
}
