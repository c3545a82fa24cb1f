package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/shardmill/shardmill/shards"
)

func (r *rig) summary(name string) *types.StreamDescriptionSummary {
	r.t.Helper()
	return ok(r.DescribeStreamSummary(r.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &name}))(r.t).StreamDescriptionSummary
}

func TestRetention(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	increase := func(hours int32) error {
		_, err := r.IncreaseStreamRetentionPeriod(r.ctx, &kinesis.IncreaseStreamRetentionPeriodInput{StreamName: &name, RetentionPeriodHours: &hours})
		return err
	}
	decrease := func(hours int32) error {
		_, err := r.DecreaseStreamRetentionPeriod(r.ctx, &kinesis.DecreaseStreamRetentionPeriodInput{StreamName: &name, RetentionPeriodHours: &hours})
		return err
	}
	r.must(increase(24)) // as Terraform does
	r.must(increase(48))
	if got := *r.summary(name).RetentionPeriodHours; got != 48 {
		t.Errorf("the retention is %d hours", got)
	}
	refused(t, increase(30), "InvalidArgumentException", "Requested retention period (30 hours) for stream s can not be shorter than existing retention period (48 hours). Use DecreaseRetentionPeriod API.")
	refused(t, decrease(72), "InvalidArgumentException", "")
	refused(t, decrease(23), "InvalidArgumentException", "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.")
	refused(t, increase(8761), "InvalidArgumentException", "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long.")
	r.must(decrease(24))
}

func TestTags(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	arns := map[string]string{"stream": r.handler.streamARN(name), "consumer": r.consumer(name, "c")}
	for kind, arn := range arns {
		ok(r.TagResource(r.ctx, &kinesis.TagResourceInput{ResourceARN: &arn, Tags: map[string]string{"b": "2", "a": "1"}}))(t)
		ok(r.UntagResource(r.ctx, &kinesis.UntagResourceInput{ResourceARN: &arn, TagKeys: []string{"b", "x"}}))(t)
		got := ok(r.ListTagsForResource(r.ctx, &kinesis.ListTagsForResourceInput{ResourceARN: &arn}))(t).Tags
		if len(got) != 1 || *got[0].Key != "a" || *got[0].Value != "1" {
			t.Errorf("the %s has %d tags", kind, len(got))
		}
		_, err := r.TagResource(r.ctx, &kinesis.TagResourceInput{ResourceARN: &arn, Tags: map[string]string{"!": "1"}})
		refused(t, err, "InvalidArgumentException", "")
	}
	ok(r.AddTagsToStream(r.ctx, &kinesis.AddTagsToStreamInput{StreamName: &name, Tags: map[string]string{"c": "3", "d": ""}}))(t)
	ok(r.RemoveTagsFromStream(r.ctx, &kinesis.RemoveTagsFromStreamInput{StreamName: &name, TagKeys: []string{"a"}}))(t)
	page := ok(r.ListTagsForStream(r.ctx, &kinesis.ListTagsForStreamInput{StreamName: &name, Limit: aws.Int32(1)}))(t)
	if len(page.Tags) != 1 || *page.Tags[0].Key != "c" || !*page.HasMoreTags {
		t.Errorf("the first page is %+v", page)
	}
	page = ok(r.ListTagsForStream(r.ctx, &kinesis.ListTagsForStreamInput{StreamName: &name, ExclusiveStartTagKey: aws.String("c")}))(t)
	if len(page.Tags) != 1 || *page.Tags[0].Key != "d" || *page.HasMoreTags {
		t.Errorf("the second page is %+v", page)
	}
	many := map[string]string{}
	for i := range 49 {
		many[fmt.Sprint("t", i)] = "x"
	}
	_, err := r.AddTagsToStream(r.ctx, &kinesis.AddTagsToStreamInput{StreamName: &name, Tags: many})
	refused(t, err, "InvalidArgumentException", "Failed to add tags: a resource cannot have more than 50 tags associated with it.")
	nope := "arn:aws:kinesis:us-east-1:000000000000:stream/nope"
	_, err = r.ListTagsForResource(r.ctx, &kinesis.ListTagsForResourceInput{ResourceARN: &nope})
	refused(t, err, "ResourceNotFoundException", "")
	for _, err := range []error{
		second(r.AddTagsToStream(r.ctx, &kinesis.AddTagsToStreamInput{StreamName: aws.String("nope"), Tags: map[string]string{"k": "v"}})),
		second(r.RemoveTagsFromStream(r.ctx, &kinesis.RemoveTagsFromStreamInput{StreamName: aws.String("nope"), TagKeys: []string{"k"}})),
		second(r.ListTagsForStream(r.ctx, &kinesis.ListTagsForStreamInput{StreamName: aws.String("nope")})),
		second(r.TagResource(r.ctx, &kinesis.TagResourceInput{ResourceARN: &nope, Tags: map[string]string{"k": "v"}})),
		second(r.UntagResource(r.ctx, &kinesis.UntagResourceInput{ResourceARN: &nope, TagKeys: []string{"k"}})),
	} {
		refused(t, err, "ResourceNotFoundException", "Stream nope under account 000000000000 not found.")
	}
}

func second[T any](_ T, err error) error { return err }

func TestConsumers(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	arn := aws.String(r.handler.streamARN(name))
	a, b := r.consumer(name, "a"), r.consumer(name, "b")
	if !strings.HasPrefix(a, *arn+"/consumer/a:") {
		t.Errorf("its ARN is %s", a)
	}
	_, err := r.RegisterStreamConsumer(r.ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("a")})
	refused(t, err, "ResourceInUseException", "Consumer a under stream s already exists for account 000000000000.")
	for _, in := range []*kinesis.DescribeStreamConsumerInput{{ConsumerARN: &a}, {StreamARN: arn, ConsumerName: aws.String("a")}} {
		d := ok(r.DescribeStreamConsumer(r.ctx, in))(t).ConsumerDescription
		if *d.ConsumerARN != a || *d.StreamARN != *arn || d.ConsumerStatus != types.ConsumerStatusActive {
			t.Errorf("the consumer is %+v", d)
		}
	}
	page := ok(r.ListStreamConsumers(r.ctx, &kinesis.ListStreamConsumersInput{StreamARN: arn, MaxResults: aws.Int32(1)}))(t)
	if len(page.Consumers) != 1 || *page.Consumers[0].ConsumerARN != a {
		t.Fatalf("the first page is %+v", page)
	}
	page = ok(r.ListStreamConsumers(r.ctx, &kinesis.ListStreamConsumersInput{StreamARN: arn, NextToken: page.NextToken}))(t)
	if len(page.Consumers) != 1 || *page.Consumers[0].ConsumerARN != b || page.NextToken != nil {
		t.Errorf("the second page is %+v", page)
	}
	ok(r.DeregisterStreamConsumer(r.ctx, &kinesis.DeregisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("b")}))(t)
	_, err = r.DescribeStreamConsumer(r.ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: &b})
	refused(t, err, "ResourceNotFoundException", "Consumer b under stream s under account 000000000000 not found.")
	_, err = r.DescribeStreamConsumer(r.ctx, &kinesis.DescribeStreamConsumerInput{ConsumerName: aws.String("a")})
	refused(t, err, "InvalidArgumentException", "")
	_, err = r.DescribeStreamConsumer(r.ctx, &kinesis.DescribeStreamConsumerInput{ConsumerARN: &a, ConsumerName: aws.String("b")})
	refused(t, err, "InvalidArgumentException", "")
	for i := range shards.MaxConsumers - 1 {
		r.consumer(name, fmt.Sprint("c", i))
	}
	_, err = r.RegisterStreamConsumer(r.ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("z")})
	refused(t, err, "LimitExceededException", "")
	if got := *r.summary(name).ConsumerCount; got != shards.MaxConsumers {
		t.Errorf("there are %d consumers", got)
	}
}

func TestStoredSettings(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	arn := aws.String(r.handler.streamARN(name))
	in := &kinesis.StartStreamEncryptionInput{StreamName: &name, EncryptionType: types.EncryptionTypeKms, KeyId: aws.String("alias/k")}
	ok(r.StartStreamEncryption(r.ctx, in))(t)
	if got := r.summary(name); got.EncryptionType != types.EncryptionTypeKms || *got.KeyId != "alias/k" {
		t.Errorf("the summary is %+v", got)
	}
	put := ok(r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: &name, Data: []byte("x"), PartitionKey: aws.String("k")}))(t)
	if got := r.all(name, firstShard); put.EncryptionType != types.EncryptionTypeKms || got[0].EncryptionType != types.EncryptionTypeKms {
		t.Errorf("it is put with %q and read with %q", put.EncryptionType, got[0].EncryptionType)
	}
	ok(r.StopStreamEncryption(r.ctx, &kinesis.StopStreamEncryptionInput{StreamName: &name, EncryptionType: types.EncryptionTypeKms, KeyId: in.KeyId}))(t)
	if got := r.summary(name); got.EncryptionType != types.EncryptionTypeNone || got.KeyId != nil {
		t.Errorf("the summary is %+v", got)
	}
	in.EncryptionType = types.EncryptionTypeNone
	_, err := r.StartStreamEncryption(r.ctx, in)
	refused(t, err, "InvalidArgumentException", "")

	on := ok(r.EnableEnhancedMonitoring(r.ctx, &kinesis.EnableEnhancedMonitoringInput{StreamName: &name, ShardLevelMetrics: []types.MetricsName{"ALL"}}))(t)
	off := ok(r.DisableEnhancedMonitoring(r.ctx, &kinesis.DisableEnhancedMonitoringInput{StreamARN: arn, ShardLevelMetrics: []types.MetricsName{"IncomingBytes"}}))(t)
	if len(on.CurrentShardLevelMetrics) != 0 || len(on.DesiredShardLevelMetrics) != 7 || !slices.Equal(off.CurrentShardLevelMetrics, on.DesiredShardLevelMetrics) || len(off.DesiredShardLevelMetrics) != 6 {
		t.Errorf("monitoring is %+v, then %+v", on, off)
	}

	ok(r.UpdateMaxRecordSize(r.ctx, &kinesis.UpdateMaxRecordSizeInput{StreamARN: arn, MaxRecordSizeInKiB: aws.Int32(10240)}))(t)
	big := make([]byte, 10<<20-1)
	ok(r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: &name, Data: big, PartitionKey: aws.String("k")}))(t)
	if got := r.all(name, firstShard); len(got) != 2 || len(got[1].Data) != len(big) {
		t.Errorf("got %d records", len(got))
	}
}

func TestPolicies(t *testing.T) {
	r := newRig(t)
	name := r.stream("s", 1)
	for _, arn := range []string{r.handler.streamARN(name), r.consumer(name, "c")} {
		get := func() string {
			return *ok(r.GetResourcePolicy(r.ctx, &kinesis.GetResourcePolicyInput{ResourceARN: &arn}))(t).Policy
		}
		if got := get(); got != "{}" {
			t.Errorf("without a policy it is %s", got)
		}
		policy := `{"Version":"2012-10-17","Statement":[]}`
		ok(r.PutResourcePolicy(r.ctx, &kinesis.PutResourcePolicyInput{ResourceARN: &arn, Policy: &policy}))(t)
		if got := get(); got != policy {
			t.Errorf("the policy is %s", got)
		}
		ok(r.DeleteResourcePolicy(r.ctx, &kinesis.DeleteResourcePolicyInput{ResourceARN: &arn}))(t)
		_, err := r.DeleteResourcePolicy(r.ctx, &kinesis.DeleteResourcePolicyInput{ResourceARN: &arn})
		refused(t, err, "ResourceNotFoundException", "")
		_, err = r.PutResourcePolicy(r.ctx, &kinesis.PutResourcePolicyInput{ResourceARN: &arn, Policy: aws.String("x")})
		refused(t, err, "InvalidArgumentException", "")
	}
}

func TestModes(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Limits = shards.LimitsAWS })
	name := aws.String("s")
	onDemand := &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}
	ok(r.CreateStream(r.ctx, &kinesis.CreateStreamInput{StreamName: name, StreamModeDetails: onDemand, WarmThroughputMiBps: aws.Int32(100)}))(t)
	got := r.summary(*name)
	if *got.OpenShardCount != 4 || got.StreamModeDetails.StreamMode != types.StreamModeOnDemand || *got.WarmThroughput.TargetMiBps != 100 {
		t.Errorf("the summary is %+v", got)
	}
	arn := aws.String(r.handler.streamARN(*name))
	warm := ok(r.UpdateStreamWarmThroughput(r.ctx, &kinesis.UpdateStreamWarmThroughputInput{StreamARN: arn, WarmThroughputMiBps: aws.Int32(200)}))(t)
	if *warm.WarmThroughput.CurrentMiBps != 200 || *warm.StreamName != *name {
		t.Errorf("warm throughput is %+v", warm)
	}
	_, err := r.CreateStream(r.ctx, &kinesis.CreateStreamInput{StreamName: aws.String("warm"), StreamModeDetails: onDemand, WarmThroughputMiBps: aws.Int32(20000)})
	refused(t, err, "LimitExceededException", "WarmThroughputMiBps is 20000; it can be at most 10240.")
	_, err = r.UpdateStreamMode(r.ctx, &kinesis.UpdateStreamModeInput{StreamARN: arn, StreamModeDetails: onDemand, WarmThroughputMiBps: aws.Int32(20000)})
	refused(t, err, "LimitExceededException", "WarmThroughputMiBps is 20000; it can be at most 10240.")
	_, err = r.UpdateStreamWarmThroughput(r.ctx, &kinesis.UpdateStreamWarmThroughputInput{StreamARN: arn, WarmThroughputMiBps: aws.Int32(20000)})
	refused(t, err, "LimitExceededException", "")

	// Without a partition key a record goes anywhere, and comes back without one.
	ok(r.UpdateStreamRecordDistributionStrategy(r.ctx, &kinesis.UpdateStreamRecordDistributionStrategyInput{StreamARN: arn, RecordDistributionStrategy: types.RecordDistributionStrategyAuto}))(t)
	for range 64 {
		ok(r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: name, Data: []byte("x")}))(t)
	}
	total := 0
	for i := range 4 {
		all := r.all(*name, fmt.Sprintf("shardId-%012d", i))
		for _, rec := range all {
			if rec.PartitionKey != nil {
				t.Errorf("a record has the partition key %q", *rec.PartitionKey)
			}
		}
		if total += len(all); len(all) == 64 {
			t.Error("all records are in one shard")
		}
	}
	if total != 64 {
		t.Errorf("%d records are there", total)
	}
	if got := r.json("PutRecords", `{"StreamName":"s","Records":[{"Data":""},null]}`); got.status != 400 {
		t.Errorf("a record that is null is answered %d %s", got.status, got.body)
	}

	provisioned := &types.StreamModeDetails{StreamMode: types.StreamModeProvisioned}
	_, err = r.UpdateStreamMode(r.ctx, &kinesis.UpdateStreamModeInput{StreamARN: arn, StreamModeDetails: provisioned, WarmThroughputMiBps: aws.Int32(5)})
	refused(t, err, "ValidationException", "")
	ok(r.UpdateStreamMode(r.ctx, &kinesis.UpdateStreamModeInput{StreamARN: arn, StreamModeDetails: provisioned}))(t)
	got = r.summary(*name)
	if got.StreamModeDetails.StreamMode != types.StreamModeProvisioned || got.WarmThroughput != nil || got.RecordDistributionStrategy != types.RecordDistributionStrategyUserPartitionKey {
		t.Errorf("the summary is %+v", got)
	}
	_, err = r.UpdateStreamRecordDistributionStrategy(r.ctx, &kinesis.UpdateStreamRecordDistributionStrategyInput{StreamARN: arn, RecordDistributionStrategy: types.RecordDistributionStrategyAuto})
	refused(t, err, "ValidationException", "")
	_, err = r.UpdateStreamWarmThroughput(r.ctx, &kinesis.UpdateStreamWarmThroughputInput{StreamARN: arn, WarmThroughputMiBps: aws.Int32(5)})
	refused(t, err, "ValidationException", "")
	_, err = r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: name, Data: []byte("x")})
	refused(t, err, "ValidationException", "")

	// The mode that a stream has already does not touch limits that were set for it alone.
	unlimited := shards.Unlimited
	ok(r.store.Update(r.ctx, *name, shards.Change{Limits: &unlimited}))(t)
	ok(r.UpdateStreamMode(r.ctx, &kinesis.UpdateStreamModeInput{StreamARN: arn, StreamModeDetails: provisioned}))(t)
	if d := ok(r.store.Describe(r.ctx, *name))(t); d.Limits != shards.Unlimited {
		t.Errorf("the limits are %q", d.Limits)
	}
}

// creations fails what changes a stream: a creation is one write, which a crash does not halve.
type creations struct{ Streams }

func (creations) Update(context.Context, string, shards.Change) (shards.Description, error) {
	return shards.Description{}, errors.New("a second write")
}

func TestCreateStreamIsOneWrite(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Streams = creations{o.Streams} })
	ok(r.CreateStream(r.ctx, &kinesis.CreateStreamInput{
		StreamName: aws.String("s"), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand},
		WarmThroughputMiBps: aws.Int32(100), MaxRecordSizeInKiB: aws.Int32(2048), Tags: map[string]string{"a": "b"},
	}))(t)
	got := r.summary("s")
	if got.WarmThroughput == nil || *got.WarmThroughput.TargetMiBps != 100 || *got.MaxRecordSizeInKiB != 2048 {
		t.Errorf("the summary is %+v", got)
	}
}

// AUTO goes with the mode also where the native API changes it.
func TestDistributionGoesWithTheMode(t *testing.T) {
	r := newRig(t)
	ok(r.CreateStream(r.ctx, &kinesis.CreateStreamInput{
		StreamName: aws.String("s"), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}, WarmThroughputMiBps: aws.Int32(100),
	}))(t)
	arn := r.summary("s").StreamARN
	ok(r.UpdateStreamRecordDistributionStrategy(r.ctx, &kinesis.UpdateStreamRecordDistributionStrategyInput{StreamARN: arn, RecordDistributionStrategy: types.RecordDistributionStrategyAuto}))(t)
	for _, mode := range []shards.Mode{shards.Provisioned, shards.OnDemand} {
		ok(r.store.Update(r.ctx, "s", shards.Change{Mode: &mode}))(t)
		got := r.summary("s")
		if got.RecordDistributionStrategy != types.RecordDistributionStrategyUserPartitionKey || got.WarmThroughput != nil {
			t.Errorf("%s: %+v", mode, got)
		}
	}
	_, err := r.PutRecord(r.ctx, &kinesis.PutRecordInput{StreamName: aws.String("s"), Data: []byte("x")})
	refused(t, err, "ValidationException", "")
}

func TestAccount(t *testing.T) {
	r := newRig(t)
	get := func() *types.MinimumThroughputBillingCommitmentOutput {
		return ok(r.DescribeAccountSettings(r.ctx, &kinesis.DescribeAccountSettingsInput{}))(t).MinimumThroughputBillingCommitment
	}
	if got := get(); got.Status != "DISABLED" || got.StartedAt != nil {
		t.Errorf("at first it is %+v", got)
	}
	for _, status := range []types.MinimumThroughputBillingCommitmentInputStatus{"ENABLED", "ENABLED", "DISABLED"} {
		ok(r.UpdateAccountSettings(r.ctx, &kinesis.UpdateAccountSettingsInput{MinimumThroughputBillingCommitment: &types.MinimumThroughputBillingCommitmentInput{Status: status}}))(t)
		if got := get(); string(got.Status) != string(status) || got.StartedAt == nil || (got.EndedAt == nil) != (status == "ENABLED") {
			t.Errorf("%s is %+v", status, got)
		}
	}
	_, err := r.UpdateAccountSettings(r.ctx, &kinesis.UpdateAccountSettingsInput{MinimumThroughputBillingCommitment: &types.MinimumThroughputBillingCommitmentInput{Status: "X"}})
	refused(t, err, "ValidationException", "")
}

func TestChannels(t *testing.T) {
	r := newRig(t)
	_, err := r.CreateChannel(r.ctx, &kinesis.CreateChannelInput{ChannelName: aws.String("c"), ServiceExecutionRoleARN: aws.String("arn"), StreamConfigurationList: []types.ChannelStreamConfiguration{}})
	refused(t, err, "UnsupportedOperationException", "")
	arn := aws.String("arn:aws:kinesis:us-east-1:000000000000:channel/c")
	for _, err := range []error{
		second(r.DescribeChannel(r.ctx, &kinesis.DescribeChannelInput{ChannelARN: arn})),
		second(r.UpdateChannel(r.ctx, &kinesis.UpdateChannelInput{ChannelARN: arn})),
		second(r.DeleteChannel(r.ctx, &kinesis.DeleteChannelInput{ChannelARN: arn})),
	} {
		refused(t, err, "ResourceNotFoundException", "")
	}
	if got := ok(r.ListChannels(r.ctx, &kinesis.ListChannelsInput{}))(t); len(got.ChannelSummaries) != 0 {
		t.Errorf("there are %d channels", len(got.ChannelSummaries))
	}
}
