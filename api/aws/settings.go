package aws

import (
	"slices"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// The retention that the service knows, in hours.
const (
	minRetention = 24
	maxRetention = 8760
)

type retentionInput struct {
	streamRef
	RetentionPeriodHours int `aws:"required"`
}

func increaseRetention(c *call, in *retentionInput) (any, error) { return c.retain(in, +1) }

func decreaseRetention(c *call, in *retentionInput) (any, error) { return c.retain(in, -1) }

// retain changes the retention in one direction. The one that the stream has already is a success: Terraform asks for it.
func (c *call) retain(in *retentionInput, direction int) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	n, have := in.RetentionPeriodHours, hours(d.Retention)
	switch {
	case n < minRetention:
		return nil, invalidArgument("Minimum allowed retention period is %d hours. Requested retention period (%d hours) is too short.", minRetention, n)
	case n > maxRetention:
		return nil, invalidArgument("Maximum allowed retention period is %d hours. Requested retention period (%d hours) is too long.", maxRetention, n)
	case direction > 0 && n < have:
		return nil, invalidArgument("Requested retention period (%d hours) for stream %s can not be shorter than existing retention period (%d hours). Use DecreaseRetentionPeriod API.", n, d.Name, have)
	case direction < 0 && n > have:
		return nil, invalidArgument("Requested retention period (%d hours) for stream %s can not be longer than existing retention period (%d hours). Use IncreaseRetentionPeriod API.", n, d.Name, have)
	}
	retention := time.Duration(n) * time.Hour
	return c.update(d.Name, shards.Change{Retention: &retention})
}

// levelMetrics are the shard-level metrics, as AWS lists them.
var levelMetrics = []string{
	"IncomingBytes", "IncomingRecords", "OutgoingBytes", "OutgoingRecords", "WriteProvisionedThroughputExceeded",
	"ReadProvisionedThroughputExceeded", "IteratorAgeMilliseconds",
}

type monitoringInput struct {
	streamRef
	ShardLevelMetrics []string `aws:"required;len=1..7;elem.enum=IncomingBytes,IncomingRecords,OutgoingBytes,OutgoingRecords,WriteProvisionedThroughputExceeded,ReadProvisionedThroughputExceeded,IteratorAgeMilliseconds,ALL"`
}

type monitoringOutput struct {
	StreamName               string
	StreamARN                string
	CurrentShardLevelMetrics []string
	DesiredShardLevelMetrics []string
}

// metricsOf are the shard-level metrics that are switched on for a stream.
func metricsOf(d shards.Description) []string {
	on := []string{}
	attribute(d, attributeMonitoring, &on)
	return on
}

func enableMonitoring(c *call, in *monitoringInput) (any, error) {
	return c.monitor(in, func(metric string, on, named bool) bool { return on || named })
}

func disableMonitoring(c *call, in *monitoringInput) (any, error) {
	return c.monitor(in, func(metric string, on, named bool) bool { return on && !named })
}

// monitor keeps the metrics that want says, given whether each is on and whether the request names it. They are kept and shown; the
// host's own metrics are there in any case.
func (c *call) monitor(in *monitoringInput, want func(metric string, on, named bool) bool) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	now, next := metricsOf(d), []string{}
	all := slices.Contains(in.ShardLevelMetrics, "ALL")
	for _, metric := range levelMetrics {
		if want(metric, slices.Contains(now, metric), all || slices.Contains(in.ShardLevelMetrics, metric)) {
			next = append(next, metric)
		}
	}
	if _, err := c.update(d.Name, shards.Change{Attributes: attributeOf(attributeMonitoring, next)}); err != nil {
		return nil, err
	}
	return monitoringOutput{d.Name, c.streamARN(d.Name), now, next}, nil
}

type encryptionInput struct {
	streamRef
	EncryptionType string `aws:"required;enum=NONE,KMS"`
	KeyId          string `aws:"required;len=1..2048"`
}

// startEncryption keeps the choice of a key. Records are kept as they are: what protects the disk is the machine's concern.
func startEncryption(c *call, in *encryptionInput) (any, error) {
	if in.EncryptionType != "KMS" {
		return nil, invalidArgument("EncryptionType must be KMS.")
	}
	return c.encrypt(in, struct{ KeyId string }{in.KeyId})
}

func stopEncryption(c *call, in *encryptionInput) (any, error) {
	if in.EncryptionType != "KMS" {
		return nil, invalidArgument("EncryptionType must be KMS.")
	}
	return c.encrypt(in, nil)
}

func (c *call) encrypt(in *encryptionInput, value any) (any, error) {
	name, err := c.streamName(in.streamRef)
	if err != nil {
		return nil, err
	}
	return c.update(name, shards.Change{Attributes: attributeOf(attributeEncryption, value)})
}

type maxRecordSizeInput struct {
	StreamARN          string `aws:"len=1..2048;pattern=stream"`
	StreamId           string `aws:"len=1..24;pattern=streamid"`
	MaxRecordSizeInKiB int    `aws:"required;range=1024..10240"`
}

func updateMaxRecordSize(c *call, in *maxRecordSizeInput) (any, error) {
	name, err := c.streamName(streamRef{StreamARN: in.StreamARN, StreamId: in.StreamId})
	if err != nil {
		return nil, err
	}
	size := in.MaxRecordSizeInKiB << 10
	return c.update(name, shards.Change{MaxRecordBytes: &size})
}

type streamModeInput struct {
	StreamARN           string            `aws:"required;len=1..2048;pattern=stream"`
	StreamId            string            `aws:"len=1..24;pattern=streamid"`
	StreamModeDetails   streamModeDetails `aws:"required"`
	WarmThroughputMiBps int               `aws:"range=0..0"`
}

// updateStreamMode changes the mode. The one that the stream has already leaves the limits of its shards as they are.
func updateStreamMode(c *call, in *streamModeInput) (any, error) {
	d, err := c.description(streamRef{StreamARN: in.StreamARN, StreamId: in.StreamId})
	if err != nil {
		return nil, err
	}
	mode := in.StreamModeDetails.mode()
	if err := checkWarm(mode, in.WarmThroughputMiBps); err != nil {
		return nil, err
	}
	change := shards.Change{Mode: &mode}
	if mode == shards.OnDemand {
		limits := shards.Unlimited
		change.Limits = &limits
		if in.WarmThroughputMiBps != 0 {
			change.Attributes = attributeOf(attributeWarm, in.WarmThroughputMiBps)
		}
		return c.update(d.Name, change)
	}
	if d.Mode == shards.Provisioned {
		return nil, nil
	}
	change.Limits = &c.limits
	return c.update(d.Name, change)
}

var errWarmMode = faultf(codeValidation, "WarmThroughputMiBps can only be set for a stream in ON_DEMAND mode.")

type warmThroughput struct{ TargetMiBps, CurrentMiBps int }

// maxWarm is the most warm throughput that can be asked for, in MiB a second.
const maxWarm = 10 << 10

// checkWarm says whether a stream of a mode can be asked for a warm throughput; 0 is none.
func checkWarm(mode shards.Mode, n int) error {
	switch {
	case n != 0 && mode != shards.OnDemand:
		return errWarmMode
	case n > maxWarm:
		return faultf(codeLimit, "WarmThroughputMiBps is %d; it can be at most %d.", n, maxWarm)
	}
	return nil
}

// warmOf is the warm throughput that was asked for: this hardware needs no warming.
func warmOf(d shards.Description) *warmThroughput {
	n := 0
	if !attribute(d, attributeWarm, &n) {
		return nil
	}
	return &warmThroughput{n, n}
}

type warmThroughputInput struct {
	streamRef
	WarmThroughputMiBps int `aws:"required;range=0..0"`
}

type warmThroughputOutput struct {
	StreamARN      string
	StreamName     string
	WarmThroughput warmThroughput
}

func updateWarmThroughput(c *call, in *warmThroughputInput) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	if d.Mode != shards.OnDemand {
		return nil, errWarmMode
	}
	n := in.WarmThroughputMiBps
	if err := checkWarm(d.Mode, n); err != nil {
		return nil, err
	}
	if _, err := c.update(d.Name, shards.Change{Attributes: attributeOf(attributeWarm, n)}); err != nil {
		return nil, err
	}
	return warmThroughputOutput{c.streamARN(d.Name), d.Name, warmThroughput{n, n}}, nil
}

type distributionInput struct {
	StreamARN                  string `aws:"required;len=1..2048;pattern=stream"`
	StreamId                   string `aws:"len=1..24;pattern=streamid"`
	RecordDistributionStrategy string `aws:"required;enum=AUTO,USER_PARTITION_KEY"`
}

func updateDistribution(c *call, in *distributionInput) (any, error) {
	d, err := c.description(streamRef{StreamARN: in.StreamARN, StreamId: in.StreamId})
	if err != nil {
		return nil, err
	}
	if in.RecordDistributionStrategy != "AUTO" {
		return c.update(d.Name, shards.Change{Attributes: attributeOf(attributeDistribution, nil)})
	}
	if d.Mode != shards.OnDemand {
		return nil, faultf(codeValidation, "RecordDistributionStrategy AUTO can only be set for a stream in ON_DEMAND mode.")
	}
	return c.update(d.Name, shards.Change{Attributes: attributeOf(attributeDistribution, "AUTO")})
}
