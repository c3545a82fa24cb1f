package agent

import (
	"fmt"
	"path/filepath"
	"regexp"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/shardmill/shardmill/internal/field"
)

// Limits and defaults of the Amazon Kinesis Agent.
const (
	kinesisBuffer    = 5 << 20 // bytes of one PutRecords
	firehoseBuffer   = 4 << 20 // bytes of one PutRecordBatch
	kinesisRecord    = 1 << 20 // data and partition key
	firehoseRecord   = 1000 << 10
	maxBufferRecords = 500

	anyTime = 24 * time.Hour // where the agent sets no limit
)

// DefaultCheckpointFile is where positions are kept unless the configuration says so. The Amazon Kinesis Agent keeps its own below
// /var/run, which a reboot empties.
const DefaultCheckpointFile = "/var/lib/shardmill-agent/checkpoints.json"

// Config is a configuration file of the Amazon Kinesis Agent, checked.
type Config struct {
	KinesisEndpoint, FirehoseEndpoint string // URLs; "" = Options.Endpoint
	Region                            string // of signatures; "" = as the environment says
	AccessKey, SecretKey              string // "" = as the environment says
	UserAgent                         string // "" = our own

	CheckpointFile string
	CheckpointTTL  time.Duration // a file not seen for so long is forgotten
	MaxSending     int           // requests under way, of all flows together
	Shutdown       time.Duration // what sending gets when the agent is stopped

	Flows   []Flow
	Ignored []string // settings that were given and have no meaning here
}

// Flow is what becomes of the files of one pattern.
type Flow struct {
	Dir, Pattern string // files in Dir whose name matches the glob
	Stream       string // name of the destination
	Firehose     bool   // it is a delivery stream
	Random       bool   // the partition key is a random number; else the data's MD5
	FromStart    bool   // files that are there at the very first start are read from their beginning, not from their end

	MaxAge     time.Duration // of a buffer
	MaxRecords int
	MaxBytes   int
	Poll       time.Duration // between looks at the files
	Refresh    time.Duration // at most, between looks at the folder

	RetryFirst, RetryMost time.Duration // waits between attempts

	skipLines  int
	terminator []byte // what ends a record that was cut
	footer     *regexp.Regexp
	split      splitter
	converters []converter
}

// Name says which flow it is, in logs and among the positions.
func (f *Flow) Name() string {
	kind := "kinesis:"
	if f.Firehose {
		kind = "firehose:"
	}
	return kind + f.Stream + ":" + filepath.Join(f.Dir, f.Pattern)
}

// maxRecord is how large data may be beside its partition key.
func (f *Flow) maxRecord(key string) int {
	if f.Firehose {
		return firehoseRecord
	}
	return kinesisRecord - len(key)
}

// Settings that are accepted because the Amazon Kinesis Agent has them, and that can mean nothing here.
var (
	idleSettings = []string{
		"cloudwatch.emitMetrics", "cloudwatch.endpoint", "cloudwatch.namespace", "cloudwatch.tagInstance",
		"cloudwatch.metricsBufferTimeMillis", "cloudwatch.metricsQueueSize", "sts.endpoint",
		"assumeRoleARN", "assumeRoleExternalId",
		"userDefinedCredentialsProvider.classname", "userDefinedCredentialsProvider.location",
		"log.emitMetrics", "log.emitInternalMetrics", "log.statusReportingPeriodSeconds",
		"sendingThreadsKeepAliveMillis", "sendingThreadsMaxQueueSize", "maxConnections", "connectionTimeoutMillis",
		"connectionTTLMillis", "socketTimeoutMillis", "useTcpKeepAlive", "useHttpGzip",
		"checkpoints.queryTimeoutSeconds", "checkpoints.connectionTimeoutSeconds",
	}
	idleFlowSettings = []string{
		"publishQueueCapacity", "waitOnFullPublishQueueMillis", "waitOnEmptyPublishQueueMillis", "waitOnFullRetryQueueMillis",
		"log.emitInternalMetrics",
	}
)

// Parse reads a configuration file. Error: a *field.Error that names the setting, or what is wrong with the JSON.
func Parse(data []byte) (Config, error) {
	var err error
	m := &members{idle: set(idleSettings), err: &err}
	if err := json.Unmarshal(data, &m.values); err != nil {
		return Config{}, fmt.Errorf("not a JSON object: %w", err)
	}
	perCore := m.number("maxSendingThreadsPerCore", 12, 1, 1000)
	c := Config{
		KinesisEndpoint:  m.text("kinesis.endpoint", ""),
		Region:           m.text("kinesis.region", ""),
		FirehoseEndpoint: m.text("firehose.endpoint", ""),
		AccessKey:        m.text("awsAccessKeyId", ""),
		SecretKey:        m.text("awsSecretAccessKey", ""),
		UserAgent:        m.text("userAgentOverride", ""),
		CheckpointFile:   m.text("checkpointFile", DefaultCheckpointFile),
		CheckpointTTL:    time.Duration(m.number("checkpointTimeToLiveDays", 7, 1, 36500)) * 24 * time.Hour,
		MaxSending:       int(m.number("maxSendingThreads", max(2, perCore*int64(goruntime.NumCPU())), 1, 100_000)),
		Shutdown:         m.millis("shutdownTimeoutMillis", 10*time.Second, 0, anyTime),
	}
	flows := m.objects("flows", idleFlowSettings...)
	if len(flows) == 0 && err == nil {
		err = &field.Error{Field: "flows", Problem: "is empty", Limit: "a list of at least one flow"}
	}
	names := map[string]bool{}
	c.Ignored = m.end()
	for _, fm := range flows {
		f := parseFlow(fm)
		c.Ignored = append(c.Ignored, fm.end()...)
		if names[f.Name()] && err == nil {
			err = &field.Error{Field: fm.path + "filePattern", Problem: "leads to the same stream as in another flow"}
		}
		names[f.Name()] = true
		c.Flows = append(c.Flows, f)
	}
	return c, err
}

func parseFlow(m *members) Flow {
	f := Flow{Stream: m.text("kinesisStream", "")}
	if delivery := m.text("deliveryStream", ""); delivery != "" {
		if f.Stream != "" {
			m.fail("deliveryStream", delivery, "left out beside kinesisStream")
		}
		f.Stream, f.Firehose = delivery, true
	}
	if f.Stream == "" {
		m.fail("kinesisStream", "", "the name of a stream, or deliveryStream that of a delivery stream")
	}
	parsePattern(m, &f)
	f.FromStart = m.choice("initialPosition", "END_OF_FILE", "START_OF_FILE", "END_OF_FILE") == "START_OF_FILE"
	f.MaxAge = m.millis("maxBufferAgeMillis", time.Minute, time.Second, 15*time.Minute)
	f.MaxRecords = int(m.number("maxBufferSizeRecords", maxBufferRecords, 1, maxBufferRecords))
	most, aggregated := int64(kinesisBuffer), int64(0)
	if f.Firehose {
		most = firehoseBuffer
		aggregated = m.number("aggregatedRecordSizeBytes", 0, 0, firehoseRecord)
	} else {
		f.Random = m.choice("partitionKeyOption", "RANDOM", "RANDOM", "DETERMINISTIC") == "RANDOM"
	}
	f.MaxBytes = int(m.number("maxBufferSizeBytes", most, 1, most))
	f.Poll = m.millis("minTimeBetweenFilePollsMillis", 100*time.Millisecond, time.Millisecond, anyTime)
	f.Refresh = m.millis("maxTimeBetweenFileTrackerRefreshMillis", 10*time.Second, time.Millisecond, anyTime)
	f.RetryFirst = m.millis("retryInitialBackoffMillis", 100*time.Millisecond, time.Millisecond, anyTime)
	f.RetryMost = m.millis("retryMaxBackoffMillis", 10*time.Second, f.RetryFirst, anyTime)
	f.skipLines = int(m.number("skipHeaderLines", 0, 0, 1_000_000))
	if f.terminator = []byte(m.text("truncatedRecordTerminator", "\n")); len(f.terminator) > 1024 {
		m.fail("truncatedRecordTerminator", string(f.terminator), "at most 1024 bytes")
	}
	f.footer = m.pattern("fileFooterPattern", `(?m)\A(?:`, `)\z`)
	f.split = splitter{start: m.pattern("multiLineStartPattern", `\A(?:`, `)`), hint: int(aggregated)}
	for _, o := range m.objects("dataProcessingOptions") {
		f.converters = append(f.converters, parseConverter(o))
		o.end()
	}
	return f
}

// parsePattern divides filePattern: the folder is taken as it is written, the last part is a glob.
func parsePattern(m *members, f *Flow) {
	pattern := m.text("filePattern", "")
	dir, name := filepath.Split(pattern)
	switch {
	case dir == "" || name == "":
		m.fail("filePattern", pattern, "a folder and the glob of a file name, such as /var/log/app.log*")
	case strings.ContainsAny(dir, "*?[{"):
		m.fail("filePattern", pattern, "a glob in its last part only: the folder is taken as it is written")
	case !doublestar.ValidatePattern(name):
		m.fail("filePattern", pattern, "a glob: * ? [a-z] [!a-z] {a,b}")
	}
	f.Dir, f.Pattern = filepath.Clean(dir), name
}

// pattern compiles a regular expression between two parts; nil when there is none. Java's are not all Go's.
func (m *members) pattern(name, before, after string) *regexp.Regexp {
	text := m.text(name, "")
	if text == "" {
		return nil
	}
	compiled, err := regexp.Compile(before + text + after)
	if err != nil {
		if alone, bad := regexp.Compile(text); bad != nil {
			err = bad
		} else {
			compiled = alone
		}
		m.fail(name, text, "a regular expression of RE2, without look-around and back-references ("+err.Error()+")")
	}
	return compiled
}

// value is a member as it is written, on one line.
func (m *members) value(name string) jsontext.Value {
	v := m.take(name)
	_ = v.Compact() // it was parsed
	return v
}
