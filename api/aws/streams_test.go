package aws

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/shardmill/shardmill/shards"
)

func TestCreateAndDescribe(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Region, o.Account = "eu-west-1", "123456789012" })
	name := aws.String("s.1_x-Y")
	ok(r.CreateStream(r.ctx, &kinesis.CreateStreamInput{
		StreamName: name, ShardCount: aws.Int32(3), Tags: map[string]string{"k": "v"}, MaxRecordSizeInKiB: aws.Int32(2048),
	}))(t)
	d := ok(r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamName: name}))(t).StreamDescription
	arn := "arn:aws:kinesis:eu-west-1:123456789012:stream/s.1_x-Y"
	if *d.StreamARN != arn || d.StreamStatus != types.StreamStatusActive || *d.HasMoreShards || *d.RetentionPeriodHours != 24 ||
		d.StreamModeDetails.StreamMode != types.StreamModeProvisioned || d.EncryptionType != types.EncryptionTypeNone || d.StreamCreationTimestamp == nil {
		t.Errorf("the stream is %+v", d)
	}
	third := new(big.Int).Div(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(3))
	for i, s := range d.Shards {
		start := new(big.Int).Mul(third, big.NewInt(int64(i)))
		if *s.ShardId != fmt.Sprintf("shardId-%012d", i) || *s.HashKeyRange.StartingHashKey != start.String() || s.ParentShardId != nil ||
			len(*s.SequenceNumberRange.StartingSequenceNumber) != 56 || s.SequenceNumberRange.EndingSequenceNumber != nil {
			t.Errorf("shard %d is %+v from %s", i, s, *s.HashKeyRange.StartingHashKey)
		}
	}
	if len(d.Shards) != 3 || *d.Shards[2].HashKeyRange.EndingHashKey != shards.MaxHash.String() {
		t.Errorf("there are %d shards", len(d.Shards))
	}
	page := ok(r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamARN: &arn, Limit: aws.Int32(1), ExclusiveStartShardId: d.Shards[0].ShardId}))(t).StreamDescription
	if len(page.Shards) != 1 || *page.Shards[0].ShardId != *d.Shards[1].ShardId || !*page.HasMoreShards {
		t.Errorf("the second page is %+v", page.Shards)
	}
	sum := ok(r.DescribeStreamSummary(r.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: name}))(t).StreamDescriptionSummary
	if *sum.OpenShardCount != 3 || *sum.ConsumerCount != 0 || *sum.MaxRecordSizeInKiB != 2048 || sum.RecordDistributionStrategy != types.RecordDistributionStrategyUserPartitionKey {
		t.Errorf("the summary is %+v", sum)
	}
	if got := r.json("DescribeStream", `{"StreamId":"aaaaaaaaaaaaaaaaaaaa-aaa"}`); sum.StreamId != nil || !strings.Contains(string(got.body), "ResourceNotFoundException") {
		t.Errorf("a StreamId, which no stream has, is answered %s", got.body)
	}
	_, err := r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("other"), StreamARN: &arn})
	refused(t, err, "InvalidArgumentException", "")
	_, err = r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamARN: aws.String("arn:aws:kinesis:eu-west-1:000000000000:stream/s.1_x-Y")})
	refused(t, err, "ResourceNotFoundException", "")
	_, err = r.DescribeStream(r.ctx, &kinesis.DescribeStreamInput{StreamName: name, ExclusiveStartShardId: aws.String("x")})
	refused(t, err, "ResourceNotFoundException", "Could not find shard x in stream s.1_x-Y under account 123456789012.")
}

func TestCreateRefuses(t *testing.T) {
	r := newRig(t)
	r.stream("s", 1)
	for _, tt := range []struct {
		in            kinesis.CreateStreamInput
		code, message string
	}{
		{kinesis.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(1)}, "ResourceInUseException", "Stream s under account 000000000000 already exists."},
		{kinesis.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(2)}, "ResourceInUseException", ""},
		{kinesis.CreateStreamInput{StreamName: aws.String("t")}, "ValidationException", "1 validation error detected: Value null at 'shardCount' failed to satisfy constraint: Member must not be null"},
		{kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(1001)}, "LimitExceededException",
			"This request would exceed the shard limit of stream t under account 000000000000. Current shard count of the stream: 0. Limit: 1000. " +
				"Number of additional shards that would have resulted from this request: 1001."},
		{kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(1), Tags: map[string]string{"!": ""}}, "InvalidArgumentException",
			"Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @."},
		{kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(1), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}}, "InvalidArgumentException", ""},
		{kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(1), WarmThroughputMiBps: aws.Int32(5)}, "ValidationException", ""},
		{kinesis.CreateStreamInput{StreamName: aws.String("t"), ShardCount: aws.Int32(1), MaxRecordSizeInKiB: aws.Int32(5)}, "ValidationException", ""},
	} {
		_, err := r.CreateStream(r.ctx, &tt.in)
		refused(t, err, tt.code, tt.message)
	}
}

func TestDelete(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	it := r.iterator(name, firstShard)
	r.consumer(name, "c")
	_, err := r.DeleteStream(r.ctx, &kinesis.DeleteStreamInput{StreamName: &name})
	refused(t, err, "ResourceInUseException", "")
	// The ARN of a consumer does not mean its stream, least of all here.
	arn := r.handler.streamARN(name) + "/consumer/c:1"
	_, err = r.DeleteStream(r.ctx, &kinesis.DeleteStreamInput{StreamARN: &arn, EnforceConsumerDeletion: aws.Bool(true)})
	refused(t, err, "InvalidArgumentException", "StreamARN "+arn+" names a consumer; it must name a stream.")
	ok(r.DeleteStream(r.ctx, &kinesis.DeleteStreamInput{StreamName: &name, EnforceConsumerDeletion: aws.Bool(true)}))(t)
	_, err = r.DeleteStream(r.ctx, &kinesis.DeleteStreamInput{StreamName: &name})
	refused(t, err, "ResourceNotFoundException", "Stream s under account 000000000000 not found.")
	// The iterator of a stream is none of another one with its name.
	r.stream(name, 1)
	_, err = r.GetRecords(r.ctx, &kinesis.GetRecordsInput{ShardIterator: it})
	refused(t, err, "ResourceNotFoundException", "Stream s under account 000000000000 not found.")
}

func TestListStreams(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"b", "a", "c"} {
		r.stream(name, 1)
	}
	first := ok(r.ListStreams(r.ctx, &kinesis.ListStreamsInput{Limit: aws.Int32(2)}))(t)
	if strings.Join(first.StreamNames, "") != "ab" || !*first.HasMoreStreams || len(first.StreamSummaries) != 2 || first.NextToken == nil {
		t.Errorf("the first page is %+v", first)
	}
	second := ok(r.ListStreams(r.ctx, &kinesis.ListStreamsInput{NextToken: first.NextToken}))(t)
	if strings.Join(second.StreamNames, "") != "c" || *second.HasMoreStreams || second.NextToken != nil {
		t.Errorf("the second page is %+v", second)
	}
	after := ok(r.ListStreams(r.ctx, &kinesis.ListStreamsInput{ExclusiveStartStreamName: aws.String("aa")}))(t)
	if strings.Join(after.StreamNames, "") != "bc" {
		t.Errorf("behind aa come %v", after.StreamNames)
	}
	_, err := r.ListStreams(r.ctx, &kinesis.ListStreamsInput{NextToken: aws.String("x")})
	refused(t, err, "InvalidArgumentException", "NextToken is invalid.")
	_, err = r.ListStreams(r.ctx, &kinesis.ListStreamsInput{NextToken: first.NextToken, ExclusiveStartStreamName: aws.String("a")})
	refused(t, err, "InvalidArgumentException", "")
	limits := ok(r.DescribeLimits(r.ctx, &kinesis.DescribeLimitsInput{}))(t)
	if *limits.OpenShardCount != 3 || *limits.ShardLimit == 0 || *limits.OnDemandStreamCount != 0 || *limits.OnDemandStreamCountLimit == 0 {
		t.Errorf("the limits are %+v", limits)
	}
}

func TestTokenExpires(t *testing.T) {
	s := token{Kind: tokenShards}.String()
	if _, err := parseToken(s, tokenShards, time.Now().Add(iteratorLife-time.Second)); err != nil {
		t.Error(err)
	}
	_, err := parseToken(s, tokenShards, time.Now().Add(iteratorLife+time.Second))
	if f, is := err.(*fault); !is || f.code != codeExpiredToken {
		t.Errorf("an old token is %v", err)
	}
	if _, err := parseToken(s, tokenStreams, time.Now()); err == nil {
		t.Error("the token of another list is taken")
	}
}

func TestListShards(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 5)
	list := func(in kinesis.ListShardsInput) (string, *string) {
		t.Helper()
		out := ok(r.ListShards(r.ctx, &in))(t)
		ids := ""
		for _, s := range out.Shards {
			ids += strings.TrimLeft(strings.TrimPrefix(*s.ShardId, "shardId-"), "0") + " "
		}
		return ids, out.NextToken
	}
	page, next := list(kinesis.ListShardsInput{StreamName: &name, MaxResults: aws.Int32(3), ExclusiveStartShardId: aws.String(firstShard)})
	if page != "1 2 3 " || next == nil {
		t.Fatalf("the first page is %s", page)
	}
	if page, last := list(kinesis.ListShardsInput{NextToken: next}); page != "4 " || last != nil {
		t.Errorf("the second page is %s", page)
	}
	now := time.Now()
	for _, filter := range []types.ShardFilter{
		{Type: types.ShardFilterTypeAtLatest}, {Type: types.ShardFilterTypeAtTrimHorizon}, {Type: types.ShardFilterTypeFromTrimHorizon},
		{Type: types.ShardFilterTypeAtTimestamp, Timestamp: &now}, {Type: types.ShardFilterTypeFromTimestamp, Timestamp: aws.Time(now.Add(-100 * time.Hour))},
	} {
		if page, _ := list(kinesis.ListShardsInput{StreamName: &name, ShardFilter: &filter}); page != " 1 2 3 4 " {
			t.Errorf("%s: %s", filter.Type, page)
		}
	}
	if page, _ := list(kinesis.ListShardsInput{StreamName: &name, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String("shardId-000000000002")}}); page != "3 4 " {
		t.Errorf("behind shard 2 come %s", page)
	}
	for _, tt := range []struct {
		in            kinesis.ListShardsInput
		code, message string
	}{
		{kinesis.ListShardsInput{NextToken: next, StreamName: &name}, "InvalidArgumentException", "NextToken and StreamName cannot be provided together."},
		{kinesis.ListShardsInput{NextToken: next, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtLatest}}, "InvalidArgumentException", ""},
		{kinesis.ListShardsInput{NextToken: aws.String("x")}, "InvalidArgumentException", ""},
		{kinesis.ListShardsInput{StreamName: aws.String("nope")}, "ResourceNotFoundException", ""},
		{kinesis.ListShardsInput{StreamName: &name, StreamCreationTimestamp: aws.Time(now.Add(-time.Hour))}, "ResourceNotFoundException", ""},
		{kinesis.ListShardsInput{StreamName: &name, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAfterShardId}}, "InvalidArgumentException", ""},
		{kinesis.ListShardsInput{StreamName: &name, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp}}, "InvalidArgumentException", ""},
		{kinesis.ListShardsInput{StreamName: &name, ShardFilter: &types.ShardFilter{Type: types.ShardFilterTypeFromTimestamp, Timestamp: aws.Time(now.Add(time.Hour))}}, "InvalidArgumentException", ""},
	} {
		_, err := r.ListShards(r.ctx, &tt.in)
		refused(t, err, tt.code, tt.message)
	}
}

// TestShardFilter checks which shards a filter lets through when some have closed: at every moment those that were open cover all
// hash keys.
func TestShardFilter(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1_800_000_000+int64(s), 0) }
	since := func(s int) *instant { i := instantOf(at(s)); return &i }
	shard := func(id int, created, closed int, parents ...shards.ShardID) shards.ShardDescription {
		s := shards.ShardDescription{ID: shards.ShardID(id), State: shards.ShardOpen, Created: at(created), Parents: parents}
		if closed != 0 {
			s.State, s.Closed = shards.ShardClosed, at(closed)
		}
		return s
	}
	// 0 was split into 1 and 2 at 100; 1 into 3 and 4 at 200; of 5, the parent has gone.
	d := shards.Description{Created: at(0), Retention: 24 * time.Hour, Shards: []shards.ShardDescription{
		shard(0, 0, 100), shard(1, 100, 200, 0), shard(2, 100, 0, 0), shard(3, 200, 0, 1), shard(4, 200, 0, 1), shard(5, 150, 0, 9),
	}}
	for _, tt := range []struct {
		filter shardFilter
		now    int
		want   string
	}{
		{shardFilter{}, 300, "0 1 2 3 4 5"},
		{shardFilter{Type: "AT_LATEST"}, 300, "2 3 4 5"},
		{shardFilter{Type: "AT_TRIM_HORIZON"}, 300, "0 5"},
		{shardFilter{Type: "AT_TRIM_HORIZON"}, 86400 + 150, "1 2 5"},
		{shardFilter{Type: "FROM_TRIM_HORIZON"}, 86400 + 150, "0 1 2 3 4 5"},
		{shardFilter{Type: "AT_TIMESTAMP", Timestamp: since(150)}, 300, "1 2 5"},
		{shardFilter{Type: "AT_TIMESTAMP", Timestamp: since(200)}, 300, "2 3 4 5"},
		{shardFilter{Type: "AT_TIMESTAMP", Timestamp: since(-500)}, 300, "0 5"},
		{shardFilter{Type: "FROM_TIMESTAMP", Timestamp: since(150)}, 300, "1 2 3 4 5"},
	} {
		list, err := tt.filter.apply(&call{}, d, at(tt.now))
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, s := range list {
			ids = append(ids, fmt.Sprint(uint32(s.ID)))
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("%+v at %d: %s, want %s", tt.filter, tt.now, got, tt.want)
		}
	}
}

// TestExpiredTokens uses the tokens of lists after five minutes.
func TestExpiredTokens(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	old := func(kind string) *string {
		s := token{Kind: kind, Stream: name, After: "a"}.String()
		parsed := ok(parseToken(s, kind, time.Now()))(t)
		parsed.Made -= (iteratorLife + time.Second).Milliseconds()
		b := ok(json.Marshal(parsed))(t)
		return aws.String(base64.RawURLEncoding.EncodeToString(b))
	}
	_, err := r.ListShards(r.ctx, &kinesis.ListShardsInput{NextToken: old(tokenShards)})
	refused(t, err, "ExpiredNextTokenException", "NextToken has expired: it can be used for 300 seconds.")
	_, err = r.ListStreams(r.ctx, &kinesis.ListStreamsInput{NextToken: old(tokenStreams)})
	refused(t, err, "ExpiredNextTokenException", "")
	_, err = r.ListStreamConsumers(r.ctx, &kinesis.ListStreamConsumersInput{StreamARN: aws.String(r.handler.streamARN(name)), NextToken: old(tokenConsumers)})
	refused(t, err, "ExpiredNextTokenException", "")
}

// TestNoStream asks every operation that is about a stream for one that does not exist.
func TestNoStream(t *testing.T) {
	r := newRig(t)
	elsewhere := map[string]string{ // what these answer to a request that is valid
		"CreateStream": "ValidationException", "CreateChannel": codeUnsupported, "GetRecords": codeInvalid, "GetShardIterator": "", "DescribeAccountSettings": "",
		"DescribeLimits": "", "ListStreams": "", "ListChannels": "", "UpdateAccountSettings": "", "StartStreamEncryption": codeInvalid, "StopStreamEncryption": codeInvalid, "DeregisterStreamConsumer": "", "DescribeStreamConsumer": "",
	}
	for _, op := range operations() {
		tree := op.input.valid().(map[string]any)
		for i := range op.input.members {
			if name := op.input.members[i].name; name == "StreamARN" || name == "ConsumerARN" {
				tree[name] = op.input.members[i].valid()
			}
		}
		if op.name == "PutRecords" {
			tree["Records"].([]any)[0].(map[string]any)["PartitionKey"] = "k"
		}
		got := r.json(op.name, string(ok(json.Marshal(tree))(t)))
		want, special := elsewhere[op.name]
		if code := got.header.Get("x-amzn-ErrorType"); !special && code != codeNotFound || special && want != "" && code != want {
			t.Errorf("%s is answered %d %s", op.name, got.status, got.body)
		}
		if got.status >= 500 {
			t.Errorf("%s is answered %d %s", op.name, got.status, got.body)
		}
	}
}
