package aws

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// The attributes that a stream's AWS-only settings are kept in, each as JSON.
const (
	attributeEncryption   = "aws.encryption"                                    // {"KeyId":"…"} while it is on
	attributeMonitoring   = "aws.monitoring"                                    // the metrics, a list of names
	attributeDistribution = shards.OnDemandAttribute + "aws.recordDistribution" // "AUTO"; absent is USER_PARTITION_KEY
	attributeWarm         = shards.OnDemandAttribute + "aws.warmThroughput"     // MiB per second
	attributePolicy       = "aws.policy"                                        // the resource policy, a string; of a consumer with "." and its name behind it
)

// isEncrypted says whether StartStreamEncryption was called. Nothing is encrypted by that: the setting is kept and shown.
func isEncrypted(st *shards.Stream) bool { return st.Attribute(attributeEncryption) != nil }

// isAuto says whether records may come without a partition key.
func isAuto(st *shards.Stream) bool { return string(st.Attribute(attributeDistribution)) == `"AUTO"` }

// attribute reads an attribute into v; false when it is not there.
func attribute(d shards.Description, name string, v any) bool {
	raw, ok := d.Attributes[name]
	return ok && json.Unmarshal(raw, v) == nil
}

// attributeOf is a change of one attribute; nil removes it.
func attributeOf(name string, v any) map[string]json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("aws: encode attribute " + name + ": " + err.Error())
	}
	return map[string]json.RawMessage{name: b}
}

type streamModeDetails struct {
	StreamMode string `aws:"required;enum=ON_DEMAND,PROVISIONED"`
}

func modeOf(m shards.Mode) streamModeDetails {
	if m == shards.OnDemand {
		return streamModeDetails{"ON_DEMAND"}
	}
	return streamModeDetails{"PROVISIONED"}
}

func (m streamModeDetails) mode() shards.Mode {
	if m.StreamMode == "ON_DEMAND" {
		return shards.OnDemand
	}
	return shards.Provisioned
}

type createStreamInput struct {
	StreamName          string `aws:"required;len=1..128;pattern=name"`
	ShardCount          int    `aws:"range=1..0"`
	StreamModeDetails   *streamModeDetails
	Tags                map[string]string `aws:"len=1..200;key.len=1..128;value.len=0..256"`
	WarmThroughputMiBps int               `aws:"range=0..0"`
	MaxRecordSizeInKiB  int               `aws:"range=1024..10240"`
}

func createStream(c *call, in *createStreamInput) (any, error) {
	c.names.stream = in.StreamName
	config := shards.Config{
		Name: in.StreamName, Shards: in.ShardCount, Mode: shards.Provisioned,
		MaxRecordBytes: in.MaxRecordSizeInKiB << 10, Tags: in.Tags,
	}
	if in.StreamModeDetails != nil {
		config.Mode = in.StreamModeDetails.mode()
	}
	if err := cmp.Or(checkTags(nil, in.Tags), checkWarm(config.Mode, in.WarmThroughputMiBps)); err != nil {
		return nil, err
	}
	switch onDemand := config.Mode == shards.OnDemand; {
	case onDemand && in.ShardCount != 0:
		return nil, invalidArgument("ShardCount can not be specified for a stream in ON_DEMAND mode.")
	case !onDemand && in.ShardCount == 0:
		return nil, violations{"Value null at 'shardCount' failed to satisfy constraint: " + notNull}.err()
	case in.ShardCount > shards.MaxShards:
		return nil, c.overShards(in.StreamName, 0, in.ShardCount)
	case !onDemand:
		config.Limits = c.limits
	}
	if in.WarmThroughputMiBps != 0 {
		config.Attributes = attributeOf(attributeWarm, in.WarmThroughputMiBps)
	}
	_, created, err := c.streams.Create(c.r.Context(), config)
	if err != nil {
		return nil, err
	}
	if !created {
		return nil, shards.ErrExists
	}
	return nil, nil
}

// overShards refuses more shards than a stream can have. AWS's text is about an account, which has no limit here.
func (c *call) overShards(stream string, now, more int) error {
	return faultf(codeLimit, "This request would exceed the shard limit of stream %s under account %s. Current shard count of the stream: %d. "+
		"Limit: %d. Number of additional shards that would have resulted from this request: %d.", stream, c.account, now, shards.MaxShards, more)
}

func openShards(d shards.Description) (n int) {
	for i := range d.Shards {
		if d.Shards[i].State == shards.ShardOpen {
			n++
		}
	}
	return n
}

type deleteStreamInput struct {
	streamRef
	EnforceConsumerDeletion bool
}

func deleteStream(c *call, in *deleteStreamInput) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	if len(d.Consumers) > 0 && !in.EnforceConsumerDeletion {
		return nil, faultf(codeInUse, "Stream %s under account %s has %d registered consumers; deregister them, or set EnforceConsumerDeletion.",
			d.Name, c.account, len(d.Consumers))
	}
	return nil, c.streams.Delete(c.r.Context(), d.Name)
}

// status is a stream's as AWS says it. One that could not be opened is none that can be used.
func status(d shards.Description) string {
	if d.Status != shards.StatusActive {
		return "UPDATING"
	}
	return "ACTIVE"
}

// encryption is what a description says about it.
type encryption struct {
	EncryptionType string
	KeyId          string `json:",omitzero"`
}

func encryptionOf(d shards.Description) encryption {
	e := encryption{EncryptionType: "KMS"}
	if !attribute(d, attributeEncryption, &e) {
		e.EncryptionType = "NONE"
	}
	return e
}

type enhancedMonitoring struct{ ShardLevelMetrics []string }

func monitoringOf(d shards.Description) []enhancedMonitoring {
	return []enhancedMonitoring{{metricsOf(d)}}
}

type describeStreamInput struct {
	streamRef
	Limit                 int    `aws:"range=1..10000"`
	ExclusiveStartShardId string `aws:"len=1..128;pattern=name"`
}

type streamDescription struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamModeDetails
	Shards                  []shard
	HasMoreShards           bool
	RetentionPeriodHours    int
	StreamCreationTimestamp instant
	EnhancedMonitoring      []enhancedMonitoring
	encryption
}

type describeStreamOutput struct{ StreamDescription streamDescription }

// maxDescribed is how many shards one DescribeStream lists.
const maxDescribed = 100

func describeStream(c *call, in *describeStreamInput) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	list, err := c.after(d.Shards, in.ExclusiveStartShardId)
	if err != nil {
		return nil, err
	}
	most := maxDescribed
	if in.Limit != 0 {
		most = min(most, in.Limit)
	}
	more := len(list) > most
	if more {
		list = list[:most]
	}
	return describeStreamOutput{streamDescription{
		StreamName: d.Name, StreamARN: c.streamARN(d.Name), StreamStatus: status(d), StreamModeDetails: modeOf(d.Mode),
		Shards: shardsOf(d, list), HasMoreShards: more, RetentionPeriodHours: hours(d.Retention),
		StreamCreationTimestamp: instantOf(d.Created), EnhancedMonitoring: monitoringOf(d), encryption: encryptionOf(d),
	}}, nil
}

// hours is a retention in hours, at least one: a stream that was not made here may have less.
func hours(d time.Duration) int { return max(int(d/time.Hour), 1) }

// streamSummary has no StreamId: a client that is given one sends it back, and the SDK for Java then makes a host name of it, whatever
// endpoint it was told to use.
type streamSummary struct {
	StreamName                 string
	StreamARN                  string
	StreamStatus               string
	StreamModeDetails          streamModeDetails
	RetentionPeriodHours       int
	StreamCreationTimestamp    instant
	EnhancedMonitoring         []enhancedMonitoring
	OpenShardCount             int
	ConsumerCount              int
	MaxRecordSizeInKiB         int
	RecordDistributionStrategy string
	WarmThroughput             *warmThroughput `json:",omitzero"`
	encryption
}

type describeSummaryOutput struct{ StreamDescriptionSummary streamSummary }

func describeStreamSummary(c *call, in *streamRef) (any, error) {
	d, err := c.description(*in)
	if err != nil {
		return nil, err
	}
	strategy := "USER_PARTITION_KEY"
	attribute(d, attributeDistribution, &strategy)
	return describeSummaryOutput{streamSummary{
		StreamName: d.Name, StreamARN: c.streamARN(d.Name), StreamStatus: status(d),
		StreamModeDetails: modeOf(d.Mode), RetentionPeriodHours: hours(d.Retention), StreamCreationTimestamp: instantOf(d.Created),
		EnhancedMonitoring: monitoringOf(d), OpenShardCount: openShards(d), ConsumerCount: len(d.Consumers),
		MaxRecordSizeInKiB: d.MaxRecordBytes >> 10, RecordDistributionStrategy: strategy, WarmThroughput: warmOf(d), encryption: encryptionOf(d),
	}}, nil
}

type listStreamsInput struct {
	Limit                    int    `aws:"range=1..10000"`
	ExclusiveStartStreamName string `aws:"len=1..128;pattern=name"`
	NextToken                string `aws:"len=1..1048576"`
}

type listedStream struct {
	StreamName              string
	StreamARN               string
	StreamStatus            string
	StreamModeDetails       streamModeDetails
	StreamCreationTimestamp instant
}

type listStreamsOutput struct {
	StreamNames     []string
	HasMoreStreams  bool
	NextToken       string `json:",omitzero"`
	StreamSummaries []listedStream
}

// maxListedStreams is how many streams one ListStreams lists.
const maxListedStreams = 100

func listStreams(c *call, in *listStreamsInput) (any, error) {
	after := in.ExclusiveStartStreamName
	if in.NextToken != "" {
		if after != "" {
			return nil, invalidArgument("NextToken and ExclusiveStartStreamName cannot be provided together.")
		}
		t, err := parseToken(in.NextToken, tokenStreams, time.Now())
		if err != nil {
			return nil, err
		}
		after = t.After
	}
	most := maxListedStreams
	if in.Limit != 0 {
		most = min(most, in.Limit)
	}
	out := listStreamsOutput{}
	for _, d := range c.streams.List() {
		if strings.Compare(d.Name, after) <= 0 {
			continue
		}
		if len(out.StreamNames) == most {
			out.HasMoreStreams = true
			out.NextToken = token{Kind: tokenStreams, After: out.StreamNames[most-1]}.String()
			break
		}
		out.StreamNames = append(out.StreamNames, d.Name)
		out.StreamSummaries = append(out.StreamSummaries, listedStream{
			StreamName: d.Name, StreamARN: c.streamARN(d.Name), StreamStatus: status(d),
			StreamModeDetails: modeOf(d.Mode), StreamCreationTimestamp: instantOf(d.Created),
		})
	}
	return out, nil
}

type describeLimitsOutput struct {
	ShardLimit               int
	OpenShardCount           int
	OnDemandStreamCount      int
	OnDemandStreamCountLimit int
	ChannelCount             int
	ChannelCountLimit        int
}

// What DescribeLimits says where there is no limit but the hardware's.
const (
	shardLimit    = 20000
	onDemandLimit = 10000
)

func describeLimits(c *call, _ *struct{}) (any, error) {
	out := describeLimitsOutput{ShardLimit: shardLimit, OnDemandStreamCountLimit: onDemandLimit}
	for _, d := range c.streams.List() {
		if out.OpenShardCount += openShards(d); d.Mode == shards.OnDemand {
			out.OnDemandStreamCount++
		}
	}
	return out, nil
}

// isInvalid says whether an engine refused a value of a field.
func isInvalid(err error, field string) bool {
	var e *shards.FieldError
	return errors.As(err, &e) && e.Field == field
}
