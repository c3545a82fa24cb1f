package aws

import (
	"strings"
	"time"

	"github.com/shardmill/shardmill/triggers"
)

// mappingSettings is what CreateEventSourceMapping and UpdateEventSourceMapping can both set. nil is what was left out.
type mappingSettings struct {
	Enabled                        *bool
	BatchSize                      *int `aws:"range=1..10000"`
	FilterCriteria                 *filterCriteria
	MaximumBatchingWindowInSeconds *int `aws:"range=0..300"`
	ParallelizationFactor          *int `aws:"range=1..10"`
	DestinationConfig              *destinationConfig
	MaximumRecordAgeInSeconds      *int `aws:"range=-1..604800"`
	BisectBatchOnFunctionError     *bool
	MaximumRetryAttempts           *int      `aws:"range=-1..10000"`
	TumblingWindowInSeconds        *int      `aws:"range=0..900"`
	FunctionResponseTypes          *[]string `aws:"len=0..1;elem.enum=ReportBatchItemFailures"`
	MetricsConfig                  *metricsConfig
	KMSKeyArn                      string `aws:"len=0..10000"`
	foreignSettings
}

// foreignSettings are those of other kinds of sources.
type foreignSettings struct {
	AmazonManagedKafkaEventSourceConfig anything
	DocumentDBEventSourceConfig         anything
	LoggingConfig                       anything
	ProvisionedPollerConfig             anything
	Queues                              anything
	ScalingConfig                       anything
	SelfManagedEventSource              anything
	SelfManagedKafkaEventSourceConfig   anything
	SourceAccessConfigurations          anything
	Topics                              anything
}

type filterCriteria struct {
	Filters []filterInput `aws:"len=0..10"`
}

type filterInput struct {
	Pattern string `aws:"len=0..4096"`
}

type destinationConfig struct {
	OnSuccess *destination `json:",omitzero"`
	OnFailure *destination
}

type destination struct {
	Destination string `json:",omitzero" aws:"len=0..350"`
}

type metricsConfig struct {
	Metrics []string `aws:"len=0..3;elem.enum=EventCount,ErrorCount,KafkaMetrics"`
}

// apply puts what a request sets into a mapping.
func (c *call) apply(m *triggers.Mapping, in *mappingSettings) error {
	if err := in.refuse(); err != nil {
		return err
	}
	if v := in.Enabled; v != nil {
		m.Disabled = !*v
	}
	if v := in.FilterCriteria; v != nil {
		m.Filters = nil
		for _, f := range v.Filters {
			m.Filters = append(m.Filters, f.Pattern)
		}
	}
	if v := in.DestinationConfig; v != nil && v.OnFailure != nil {
		uri, err := c.destinationURI(v.OnFailure.Destination)
		if err != nil {
			return err
		}
		m.OnFailure = uri
	}
	if v := in.BisectBatchOnFunctionError; v != nil {
		m.Bisect = *v
	}
	if v := in.TumblingWindowInSeconds; v != nil {
		m.TumblingWindow = time.Duration(*v) * time.Second
	}
	if v := in.FunctionResponseTypes; v != nil {
		m.ReportItemFailures = len(*v) > 0
	}
	if v := in.MetricsConfig; v != nil {
		m.EventCounts = len(v.Metrics) > 0
	}
	if v := in.BatchSize; v != nil {
		m.BatchSize = *v
	}
	if v := in.MaximumBatchingWindowInSeconds; v != nil {
		m.BatchWindow = time.Duration(*v) * time.Second
	}
	if v := in.ParallelizationFactor; v != nil {
		m.Parallelization = *v
	}
	if m.TumblingWindow > 0 && m.Parallelization > 1 {
		return refuseParameter("Parallelization factor must be equal to 1 when tumbling window period is configured")
	}
	if v := in.MaximumRetryAttempts; v != nil {
		m.MaxAttempts = *v + 1 // -1 is without limit, and so is 0 there
	}
	if v := in.MaximumRecordAgeInSeconds; v != nil {
		if *v >= 0 && *v < 60 {
			return refuseParameter("MaximumRecordAgeInSeconds is %d; it must be -1, or 60 to 604800.", *v)
		}
		m.MaxRecordAge = max(0, time.Duration(*v)*time.Second)
	}
	return nil
}

// refuse says what a mapping of a stream cannot have, here or on AWS.
func (in *mappingSettings) refuse() error {
	if in.KMSKeyArn != "" {
		return refuseParameter("KMSKeyArn: there are no keys here; filter criteria are stored as they are.")
	}
	if d := in.DestinationConfig; d != nil && d.OnSuccess != nil && d.OnSuccess.Destination != "" {
		return refuseParameter("Unsupported DestinationConfig parameter for given event source mapping type.")
	}
	if in.MetricsConfig != nil {
		for _, m := range in.MetricsConfig.Metrics {
			if m != "EventCount" {
				return refuseParameter("MetricsConfig: %s is not supported for the given event source mapping type.", m)
			}
		}
	}
	return in.foreignSettings.refuse()
}

func (in *foreignSettings) refuse() error {
	for _, s := range []struct {
		name  string
		given anything
	}{
		{"AmazonManagedKafkaEventSourceConfig", in.AmazonManagedKafkaEventSourceConfig},
		{"DocumentDBEventSourceConfig", in.DocumentDBEventSourceConfig},
		{"LoggingConfig", in.LoggingConfig},
		{"ProvisionedPollerConfig", in.ProvisionedPollerConfig},
		{"Queues", in.Queues},
		{"ScalingConfig", in.ScalingConfig},
		{"SelfManagedEventSource", in.SelfManagedEventSource},
		{"SelfManagedKafkaEventSourceConfig", in.SelfManagedKafkaEventSourceConfig},
		{"SourceAccessConfigurations", in.SourceAccessConfigurations},
		{"Topics", in.Topics},
	} {
		if s.given {
			return refuseParameter("Unsupported %s parameter for given event source mapping type.", s.name)
		}
	}
	return nil
}

// The ARNs that on-failure destinations may have, up to what they name.
const (
	bucketARN = "arn:aws:s3:::"
	streamURI = "stream:"
)

// destinationURI is a destination as mappings have it. A request gives the ARN of a bucket or of a stream of this account, or a URI as the native API
// does.
func (c *call) destinationURI(given string) (string, error) {
	if bucket, ok := strings.CutPrefix(given, bucketARN); ok {
		return "s3://" + bucket, nil
	}
	if !strings.HasPrefix(given, "arn:") {
		return given, nil
	}
	d, err := c.parseARN(given)
	if err != nil || d.consumer != "" || !strings.HasPrefix(given, c.place()) {
		return "", refuseParameter("The destination %s cannot be reached from here: it can be the ARN of a bucket (%sNAME) or of a stream (%sNAME), or an http, https or file URL.",
			cut(given), bucketARN, c.streamARN(""))
	}
	return streamURI + d.stream, nil
}

// destinationARN is the inverse of destinationURI. What has no ARN stays a URI.
func (c *call) destinationARN(uri string) string {
	if bucket, ok := strings.CutPrefix(uri, "s3://"); ok && !strings.Contains(bucket, "/") {
		return bucketARN + bucket
	}
	if name, ok := strings.CutPrefix(uri, streamURI); ok {
		return c.streamARN(name)
	}
	return uri
}

// mappingOutput is a mapping on the wire.
type mappingOutput struct {
	UUID                           string
	EventSourceMappingArn          string
	StartingPosition               string
	StartingPositionTimestamp      instant `json:",omitzero"`
	BatchSize                      int
	MaximumBatchingWindowInSeconds int
	ParallelizationFactor          int
	EventSourceArn                 string
	FilterCriteria                 *filterOutput `json:",omitzero"`
	FunctionArn                    string
	LastModified                   instant
	LastProcessingResult           string
	State                          string
	StateTransitionReason          string
	DestinationConfig              destinationConfig
	MaximumRecordAgeInSeconds      int
	BisectBatchOnFunctionError     bool
	MaximumRetryAttempts           int
	TumblingWindowInSeconds        int
	FunctionResponseTypes          []string
	MetricsConfig                  *metricsConfig `json:",omitzero"`
}

type filterOutput struct{ Filters []filterInput }

func (c *call) mappingOutput(s triggers.Status) mappingOutput {
	m := &s.Mapping
	out := mappingOutput{
		UUID: s.ID, EventSourceMappingArn: c.mappingARN(s.ID),
		BatchSize: m.BatchSize, MaximumBatchingWindowInSeconds: wholeSeconds(m.BatchWindow), ParallelizationFactor: max(1, m.Parallelization),
		EventSourceArn: c.sourceARN(m), FunctionArn: c.functionARN(m.Function, m.Qualifier), LastModified: instantOf(s.Modified),
		LastProcessingResult: processingResult(&s), State: mappingState(&s), StateTransitionReason: "User action",
		DestinationConfig:          destinationConfig{OnFailure: &destination{Destination: c.destinationARN(m.OnFailure)}},
		BisectBatchOnFunctionError: m.Bisect,
		MaximumRecordAgeInSeconds:  -1, MaximumRetryAttempts: m.MaxAttempts - 1, TumblingWindowInSeconds: wholeSeconds(m.TumblingWindow),
	}
	if m.ReportItemFailures {
		out.FunctionResponseTypes = []string{"ReportBatchItemFailures"}
	}
	if m.MaxRecordAge > 0 {
		out.MaximumRecordAgeInSeconds = wholeSeconds(m.MaxRecordAge)
	}
	for name, position := range positions {
		if position == m.StartingPosition {
			out.StartingPosition = name
		}
	}
	if len(m.Filters) > 0 {
		out.FilterCriteria = new(filterOutput)
		for _, pattern := range m.Filters {
			out.FilterCriteria.Filters = append(out.FilterCriteria.Filters, filterInput{Pattern: pattern})
		}
	}
	if m.EventCounts {
		out.MetricsConfig = &metricsConfig{Metrics: []string{"EventCount"}}
	}
	if m.StartingPosition == triggers.AtTime {
		out.StartingPositionTimestamp = instantOf(m.StartingTime)
	}
	return out
}

// wholeSeconds rounds up: settings that were made natively can have parts of seconds.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// mappingState is the state in Lambda's words. Whatever keeps a mapping from reading is in its LastProcessingResult, as on AWS.
func mappingState(s *triggers.Status) string {
	switch s.State {
	case triggers.Deleting:
		return "Deleting"
	case triggers.Disabled, triggers.Stopped:
		return "Disabled"
	}
	return "Enabled"
}

// noneProcessed is the result of a mapping that has invoked its function not once.
const noneProcessed = "No records processed"

func processingResult(s *triggers.Status) string {
	if s.State == triggers.Blocked || s.State == triggers.Failed {
		return "PROBLEM: " + s.Reason
	}
	switch s.LastResult() {
	case "":
		return noneProcessed
	case triggers.ResultOK, triggers.ResultPartial:
		return "OK"
	case triggers.ResultThrottled:
		return "PROBLEM: Function call throttled"
	}
	return "PROBLEM: Function call failed"
}
