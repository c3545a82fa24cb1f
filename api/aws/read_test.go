package aws

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// data is that of records.
func data(records []types.Record) (all []string) {
	for _, rec := range records {
		all = append(all, string(rec.Data))
	}
	return all
}

func TestIteratorTypes(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 2)
	r.put(name, "a", 3)
	st := ok(r.store.Stream(name))(t)
	shard := ok(st.ShardOf([]byte("k")))(t).String()
	other := map[string]string{firstShard: "shardId-000000000001", "shardId-000000000001": firstShard}[shard]
	all := r.all(name, shard)
	start := ok(r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamName: &name}))(t).StreamDescription.Shards
	first := start[0].SequenceNumberRange.StartingSequenceNumber
	if *start[1].ShardId == shard {
		first = start[1].SequenceNumberRange.StartingSequenceNumber
	}
	get := func(in kinesis.GetShardIteratorInput) *kinesis.GetRecordsOutput {
		t.Helper()
		in.StreamName, in.ShardId = &name, &shard
		it := ok(r.GetShardIterator(r.ctx, &in))(t).ShardIterator
		if len(*it) > 256 {
			t.Errorf("an iterator has %d characters", len(*it))
		}
		return ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t)
	}
	hour, epoch := time.Now().Add(-time.Hour), time.Unix(0, 0)
	for _, tt := range []struct {
		in   kinesis.GetShardIteratorInput
		want string
	}{
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeTrimHorizon}, "a0 a1 a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest}, ""},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: &hour}, "a0 a1 a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: &epoch}, "a0 a1 a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: first}, "a0 a1 a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: first}, "a0 a1 a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: all[1].SequenceNumber}, "a1 a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: all[1].SequenceNumber}, "a2"},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAfterSequenceNumber, StartingSequenceNumber: all[2].SequenceNumber}, ""},
	} {
		out := get(tt.in)
		if got := strings.Join(data(out.Records), " "); got != tt.want || out.NextShardIterator == nil || *out.MillisBehindLatest != 0 || len(out.ChildShards) != 0 {
			t.Errorf("%s %v: %s, want %s, with %+v", tt.in.ShardIteratorType, tt.in.StartingSequenceNumber, got, tt.want, out)
		}
	}
	for _, tt := range []struct {
		in            kinesis.GetShardIteratorInput
		code, message string
	}{
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber}, "InvalidArgumentException", "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest, StartingSequenceNumber: first}, "InvalidArgumentException", ""},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp}, "InvalidArgumentException", ""},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtTimestamp, Timestamp: aws.Time(time.Now().Add(time.Hour))}, "InvalidArgumentException", ""},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: aws.String("7")}, "InvalidArgumentException",
			"StartingSequenceNumber 7 used in GetShardIterator on shard " + shard + " in stream s under account 000000000000 is invalid because it did not come from this stream."},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: aws.String("-7")}, "ValidationException", ""},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest, ShardId: aws.String("shardId-000000000007")}, "ResourceNotFoundException", "Could not find shard shardId-000000000007 in stream s under account 000000000000."},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest, StreamName: aws.String("nope")}, "ResourceNotFoundException", ""},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: first, ShardId: &other}, "InvalidArgumentException",
			"Invalid StartingSequenceNumber. It encodes " + shard + ", while it was used in a call to a shard with " + other},
		{kinesis.GetShardIteratorInput{ShardIteratorType: types.ShardIteratorTypeLatest, DryRun: aws.Bool(true)}, "DryRunOperationException", ""},
	} {
		if tt.in.StreamName == nil {
			tt.in.StreamName = &name
		}
		if tt.in.ShardId == nil {
			tt.in.ShardId = &shard
		}
		_, err := r.GetShardIterator(r.ctx, &tt.in)
		refused(t, err, tt.code, tt.message)
	}
}

func TestGetRecordsPages(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	st := ok(r.store.Stream(name))(t)
	want := r.put(name, "a", 25)
	var got []string
	it := r.iterator(name, firstShard)
	for range 3 {
		out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it, Limit: aws.Int32(10), StreamARN: aws.String(r.handler.streamARN(name))}))(t)
		got = append(got, data(out.Records)...)
		if it = out.NextShardIterator; len(got) < 25 && *out.MillisBehindLatest < 0 {
			t.Errorf("%d ms behind", *out.MillisBehindLatest)
		}
	}
	same(t, got, want)
	// Ten MiB are the most that comes at once.
	for range 12 {
		ok(st.Put(r.ctx, []record.Record{{Key: []byte("k"), Data: make([]byte, 1<<20-1)}}, nil))(t)
	}
	out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}))(t)
	if len(out.Records) != 10 {
		t.Errorf("%d MiB come at once", len(out.Records))
	}
	out = ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: out.NextShardIterator}))(t)
	if len(out.Records) != 2 || *out.MillisBehindLatest != 0 {
		t.Errorf("%d MiB are left, %d ms behind", len(out.Records), *out.MillisBehindLatest)
	}
}

// Answers that clients leave unread do not fill the memory: while as many large ones as may be are on their way, others are small, and whole.
func TestLargePages(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	st := ok(r.store.Stream(name))(t)
	for range 3 {
		ok(st.Put(r.ctx, []record.Record{{Key: []byte("k"), Data: make([]byte, smallPage-2)}}, nil))(t)
	}
	for range maxLargePages {
		r.handler.largePages <- struct{}{}
	}
	out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: r.iterator(name, firstShard)}))(t)
	if len(out.Records) != 1 || out.NextShardIterator == nil || *out.MillisBehindLatest < 0 {
		t.Errorf("a small page has %d records", len(out.Records))
	}
	<-r.handler.largePages
	out = ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: out.NextShardIterator}))(t)
	if len(out.Records) != 2 {
		t.Errorf("a large page has %d records", len(out.Records))
	}
	// The client has the answer before the handler has let go of it.
	eventually(t, "given back", func() bool { return len(r.handler.largePages) == maxLargePages-1 })
}

func TestGetRecordsRefuses(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	r.stream("t", 1)
	r.put(name, "a", 1)
	it := r.iterator(name, firstShard)
	quoted := `"` + *it + `"`
	if out := ok(r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: &quoted}))(t); len(out.Records) != 1 {
		t.Errorf("an iterator in quotes gives %d records", len(out.Records))
	}
	broken := (*it)[:20] + "x" + (*it)[21:]
	for _, tt := range []struct {
		in            kinesis.GetRecordsInput
		code, message string
	}{
		{kinesis.GetRecordsInput{ShardIterator: aws.String("x")}, "InvalidArgumentException", "Invalid ShardIterator."},
		{kinesis.GetRecordsInput{ShardIterator: &broken}, "InvalidArgumentException", "Invalid ShardIterator."},
		{kinesis.GetRecordsInput{ShardIterator: it, Limit: aws.Int32(10001)}, "ValidationException", ""},
		{kinesis.GetRecordsInput{ShardIterator: it, DryRun: aws.Bool(true)}, "DryRunOperationException", ""},
		{kinesis.GetRecordsInput{ShardIterator: it, StreamARN: aws.String(r.handler.streamARN("t"))}, "InvalidArgumentException", ""},
	} {
		_, err := r.GetRecords(r.ctx, &tt.in)
		refused(t, err, tt.code, tt.message)
	}
	old := ok(parseIterator(*it, time.Now()))(t)
	old.made = time.Date(2015, 1, 22, 1, 22, 2, 0, time.UTC)
	_, err := parseIterator(old.String(), time.Date(2015, 1, 22, 1, 27, 3, 0, time.UTC))
	if f, is := err.(*fault); !is || f.code != codeExpiredIterator || f.message != "Iterator expired. The iterator was created at time Thu Jan 22 01:22:02 UTC 2015 while right now it is "+
		"Thu Jan 22 01:27:03 UTC 2015 which is further in the future than the tolerated delay of 300000 milliseconds." {
		t.Errorf("an old iterator is %v", err)
	}
	if _, err := parseIterator(old.String(), old.made.Add(iteratorLife)); err != nil {
		t.Errorf("after five minutes an iterator is %v", err)
	}
	_, err = r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: aws.String(old.String())})
	refused(t, err, "ExpiredIteratorException", "")
}

func TestReadLimits(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits = shards.LimitsAWS })
	name := r.stream("s", 1)
	it := r.iterator(name, firstShard)
	refusals := 0
	for range 7 {
		if _, err := r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it}); err != nil {
			refused(t, err, "ProvisionedThroughputExceededException", "Rate exceeded for shard shardId-000000000000 in stream s under account 000000000000.")
			refusals++
		}
	}
	if refusals == 0 {
		t.Error("seven reads in a moment are taken")
	}
}

func TestBucket(t *testing.T) {
	at := time.Unix(0, 0)
	b := &bucket{calls: 0, bytes: -4 * readBytes, at: at}
	b.refill(at.Add(2 * time.Second))
	if b.calls != readCalls || b.bytes != -2*readBytes {
		t.Errorf("after two seconds there are %v calls and %v bytes", b.calls, b.bytes)
	}
	b.refill(at.Add(time.Second)) // the clock was set back
	b.refill(at.Add(time.Minute))
	if b.calls != readCalls || b.bytes != readBytes {
		t.Errorf("after a minute there are %v calls and %v bytes", b.calls, b.bytes)
	}
	l := newReadLimits()
	l.buckets[shardKey{"old", 0}] = &bucket{at: at}
	l.sweep(at.Add(time.Hour))
	if len(l.buckets) != 0 {
		t.Error("an old bucket is kept")
	}
}
