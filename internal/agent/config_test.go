package agent

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/internal/field"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every setting that the Amazon Kinesis Agent documents is accepted, and what means nothing here is named.
func TestParseEverySetting(t *testing.T) {
	data, err := os.ReadFile("testdata/every.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if c.KinesisEndpoint != "http://localhost:4780" || c.FirehoseEndpoint != "http://localhost:4782" || c.Region != "eu-central-1" ||
		c.AccessKey != "AKID" || c.SecretKey != "secret" || c.CheckpointFile != "/tmp/checkpoints" || c.CheckpointTTL != 72*time.Hour ||
		c.MaxSending != 4 || c.Shutdown != 5*time.Second || c.UserAgent != "ours" {
		t.Errorf("settings %+v", c)
	}
	want := []string{
		"assumeRoleARN", "assumeRoleExternalId", "cloudwatch.emitMetrics", "cloudwatch.endpoint", "cloudwatch.namespace",
		"sts.endpoint", "flows[0].publishQueueCapacity",
	}
	if !slices.Equal(c.Ignored, want) {
		t.Errorf("ignored %q, want %q", c.Ignored, want)
	}
	if len(c.Flows) != 2 {
		t.Fatalf("flows %+v", c.Flows)
	}
	f, d := &c.Flows[0], &c.Flows[1]
	if f.Name() != "kinesis:s:/var/log/app.log*" || f.Random || !f.FromStart || f.MaxAge != 2*time.Second || f.MaxRecords != 100 || f.MaxBytes != 1<<20 ||
		f.Poll != 50*time.Millisecond || f.skipLines != 2 || string(f.terminator) != "…\n" || f.RetryFirst != 10*time.Millisecond ||
		f.RetryMost != time.Second || f.footer == nil || f.split.start == nil || len(f.converters) != 2 {
		t.Errorf("flow %+v", f)
	}
	if d.Name() != "firehose:d:/var/log/{a,b}.log" || !d.Firehose || d.FromStart || d.MaxAge != time.Minute || d.MaxBytes != firehoseBuffer || d.split.hint != 4096 {
		t.Errorf("flow %+v", d)
	}
}

func TestParseDefaults(t *testing.T) {
	c, err := Parse([]byte(`{"flows":[{"filePattern":"/var/log/x","kinesisStream":"s"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	f := c.Flows[0]
	if c.CheckpointFile != DefaultCheckpointFile || c.CheckpointTTL != 7*24*time.Hour || c.Shutdown != 10*time.Second || c.MaxSending < 2 ||
		!f.Random || f.FromStart || f.MaxAge != time.Minute || f.MaxRecords != 500 || f.MaxBytes != 5<<20 || f.Poll != 100*time.Millisecond ||
		f.RetryFirst != 100*time.Millisecond || f.RetryMost != 10*time.Second || string(f.terminator) != "\n" || c.Ignored != nil {
		t.Errorf("%+v", c)
	}
}

// What is refused is refused by its name.
func TestParseRefuses(t *testing.T) {
	flow := func(more string) string {
		return `{"flows":[{"filePattern":"/var/log/x","kinesisStream":"s"` + more + `}]}`
	}
	option := func(o string) string { return flow(`,"dataProcessingOptions":[{` + o + `}]`) }
	for config, want := range map[string]string{
		`[]`:                                   "not a JSON object",
		`{"flows":[]}`:                         "flows is empty",
		`{}`:                                   "flows is empty",
		`{"flow":[],"flows":[]}`:               "",
		`{"flows":{}}`:                         "flows is",
		`{"flows":[{"kinesisStream":"s"}]}`:    "flows[0].filePattern",
		`{"flows":[{"filePattern":"/var/x"}]}`: "flows[0].kinesisStream",
		`{"flows":[{"filePattern":"x","kinesisStream":"s"}]}`:                                               "flows[0].filePattern",
		`{"flows":[{"filePattern":"/var/*/x","kinesisStream":"s"}]}`:                                        "its last part only",
		`{"flows":[{"filePattern":"/var/log/","kinesisStream":"s"}]}`:                                       "flows[0].filePattern",
		`{"flows":[{"filePattern":"/var/log/[","kinesisStream":"s"}]}`:                                      "a glob",
		flow(`,"deliveryStream":"d"`):                                                                       "flows[0].deliveryStream",
		flow(`,"colour":"red"`):                                                                             `flows[0].colour is not a setting of the agent`,
		flow(`,"maxBufferAgeMillis":999`):                                                                   "flows[0].maxBufferAgeMillis is 999",
		flow(`,"maxBufferAgeMillis":"900001"`):                                                              "maxBufferAgeMillis",
		flow(`,"maxBufferSizeRecords":501`):                                                                 "maxBufferSizeRecords",
		flow(`,"maxBufferSizeBytes":5242881`):                                                               "maxBufferSizeBytes",
		flow(`,"maxBufferSizeBytes":[1]`):                                                                   "maxBufferSizeBytes",
		flow(`,"aggregatedRecordSizeBytes":1`):                                                              "aggregatedRecordSizeBytes is not a setting",
		flow(`,"initialPosition":"MIDDLE"`):                                                                 "one of START_OF_FILE, END_OF_FILE",
		flow(`,"partitionKeyOption":"x"`):                                                                   "partitionKeyOption",
		flow(`,"multiLineStartPattern":"(?!x)"`):                                                            "RE2",
		flow(`,"fileFooterPattern":"("`):                                                                    "fileFooterPattern",
		flow(`,"retryInitialBackoffMillis":200,"retryMaxBackoffMillis":100`):                                "retryMaxBackoffMillis",
		option(`"optionName":"ADDEC2METADATA"`):                                                             "optionName is",
		option(``):                                                                                          "flows[0].dataProcessingOptions[0].optionName",
		option(`"optionName":"CSVTOJSON"`):                                                                  "customFieldNames",
		option(`"optionName":"CSVTOJSON","customFieldNames":["a"],"delimiter":"("`):                         "delimiter",
		option(`"optionName":"LOGTOJSON","logFormat":"X"`):                                                  "logFormat",
		option(`"optionName":"LOGTOJSON","logFormat":"SYSLOG","matchPattern":"(.*)"`):                       "customFieldNames",
		option(`"optionName":"LOGTOJSON","logFormat":"SYSLOG","matchPattern":"(","customFieldNames":["a"]`): "matchPattern",
		option(`"optionName":"LOGTOJSON","logFormat":"SYSLOG","matchPattern":"(.)","customFieldNames":["a","b"]`): "not as many",
		option(`"optionName":"SINGLELINE","x":1`):                                                           "dataProcessingOptions[0].x",
		`{"flows":[{"filePattern":"/a/x","kinesisStream":"s"},{"filePattern":"/a/x","kinesisStream":"s"}]}`: "flows[1].filePattern",
		`{"maxSendingThreads":0,"flows":[{"filePattern":"/a/x","kinesisStream":"s"}]}`:                      "maxSendingThreads",
	} {
		_, err := Parse([]byte(config))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
		if named := (*field.Error)(nil); err != nil && strings.HasPrefix(config, "{") && !errors.As(err, &named) {
			t.Errorf("%s: %v names no setting", config, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	data, err := os.ReadFile("testdata/every.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"flows":[{"filePattern":"/var/log/x","kinesisStream":"s","skipHeaderLines":"2","dataProcessingOptions":[{"optionName":"SINGLELINE"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		for i := range c.Flows {
			flow := &c.Flows[i]
			if flow.Stream == "" || flow.Dir == "" || flow.Pattern == "" || flow.MaxRecords < 1 || flow.Poll <= 0 {
				t.Fatalf("accepted %+v", flow)
			}
			for _, line := range []string{"\n", "a,b\n", "x"} {
				_, _ = convert(flow.converters, []byte(line))
			}
		}
	})
}
