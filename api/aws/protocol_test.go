package aws

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/fxamacker/cbor/v2"
)

// reply is an answer as it went over the wire.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request as it is given; headers are name and value by turns.
func (r *rig) send(method, body string, headers ...string) reply {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.ctx, method, r.url, strings.NewReader(body))
	r.must(err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	r.must(err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	r.must(err)
	return reply{res.StatusCode, res.Header, b}
}

func (r *rig) json(operation, body string) reply {
	r.t.Helper()
	return r.send(http.MethodPost, body, "Content-Type", typeJSON, "X-Amz-Target", targetPrefix+operation)
}

func (r *rig) cbor(operation string, body []byte) (reply, map[string]any) {
	r.t.Helper()
	got := r.send(http.MethodPost, string(body), "Content-Type", typeCBOR, "X-Amz-Target", targetPrefix+operation)
	document := map[string]any{}
	if len(got.body) > 0 {
		r.must(cbor.Unmarshal(got.body, &document))
	}
	return got, document
}

func TestOddRequests(t *testing.T) {
	r := newRig(t)
	target := targetPrefix + "ListStreams"
	for _, tt := range []struct {
		name, method, body string
		headers            []string
		status             int
		want               string // the whole body; "" is any
		header, value      string
	}{
		{"get", "GET", "", nil, 403, "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>\n", "Content-Type", "application/xml"},
		{"no target", "POST", "{}", []string{"Content-Type", typeJSON}, 400, `{"__type":"UnknownOperationException"}`, "x-amzn-ErrorType", "UnknownOperationException"},
		{"unknown operation", "POST", "{}", []string{"Content-Type", typeJSON, "X-Amz-Target", target + "s"}, 400, `{"__type":"UnknownOperationException"}`, "Content-Type", typeJSON},
		{"other service", "POST", "{}", []string{"Content-Type", typeJSON, "X-Amz-Target", "DynamoDB_20120810.ListTables"}, 400, `{"__type":"UnknownOperationException"}`, "", ""},
		{"no media type", "POST", "{}", []string{"X-Amz-Target", target}, 404, "", "x-amzn-ErrorType", "UnknownOperationException"},
		{"plain JSON", "POST", "{}", []string{"Content-Type", "application/json", "X-Amz-Target", target}, 404, `{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}`, "Content-Type", "application/json"},
		{"no JSON", "POST", "{", []string{"Content-Type", typeJSON, "X-Amz-Target", target}, 400, `{"__type":"SerializationException"}`, "", ""},
		{"a list", "POST", "[]", []string{"Content-Type", typeJSON, "X-Amz-Target", target}, 400, `{"__type":"SerializationException","Message":"Expected null"}`, "", ""},
		{"null", "POST", "null", []string{"Content-Type", typeJSON, "X-Amz-Target", target}, 400, `{"__type":"SerializationException"}`, "", ""},
		{"nothing", "POST", "", []string{"Content-Type", typeJSON, "X-Amz-Target", target}, 200, `{"StreamNames":[],"HasMoreStreams":false,"StreamSummaries":[]}`, "Content-Type", typeJSON},
		{"media type with parameter", "POST", "{}", []string{"Content-Type", typeJSON + "; charset=utf-8", "X-Amz-Target", target}, 200, "", "", ""},
		{"preflight", "OPTIONS", "", []string{"Origin", "http://localhost:3000", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-amz-target"}, 200, "", "Access-Control-Allow-Headers", "x-amz-target"},
		{"preflight's method", "OPTIONS", "", []string{"Origin", "http://127.0.0.1:3000", "Access-Control-Request-Method", "POST"}, 200, "", "Access-Control-Allow-Methods", "POST"},
		{"a page of this machine", "POST", "{}", []string{"Origin", "http://[::1]:3000", "Content-Type", typeJSON, "X-Amz-Target", target}, 200, "", "Access-Control-Allow-Origin", "http://[::1]:3000"},
		{"a page of the web", "POST", "{}", []string{"Origin", "https://evil.example", "Content-Type", typeJSON, "X-Amz-Target", target}, 403, "", "Access-Control-Allow-Origin", ""},
		{"a page of nowhere", "OPTIONS", "", []string{"Origin", "null"}, 403, "", "Access-Control-Allow-Origin", ""},
	} {
		got := r.send(tt.method, tt.body, tt.headers...)
		if got.status != tt.status || tt.want != "" && string(got.body) != tt.want {
			t.Errorf("%s: %d %s, want %d %s", tt.name, got.status, got.body, tt.status, tt.want)
		}
		if tt.header != "" && got.header.Get(tt.header) != tt.value {
			t.Errorf("%s: the header %s is %q, want %q", tt.name, tt.header, got.header.Get(tt.header), tt.value)
		}
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(got.header.Get("x-amzn-RequestId")) || len(got.header.Get("x-amz-id-2")) != 96 {
			t.Errorf("%s: its ids are %q and %q", tt.name, got.header.Get("x-amzn-RequestId"), got.header.Get("x-amz-id-2"))
		}
	}
	for operation, most := range map[string]int{"ListStreams": maxBody, "PutRecord": maxPutBody} {
		if got := r.json(operation, `{"x":"`+strings.Repeat("x", most-8)+`"}`); got.status == 413 {
			t.Errorf("a body for %s that is as large as can be is answered %d", operation, got.status)
		}
		if got := r.json(operation, `{"x":"`+strings.Repeat("x", most)+`"}`); got.status != 413 {
			t.Errorf("a body for %s that is too large is answered %d", operation, got.status)
		}
	}
}

// TestWrongTypes checks the words of AWS for values of other types than the model's.
func TestWrongTypes(t *testing.T) {
	r := newRig(t)
	for _, tt := range []struct{ operation, body, want string }{
		{"CreateStream", `{"StreamName":true}`, "class java.lang.Boolean can not be converted to an String"},
		{"CreateStream", `{"StreamName":23}`, "class java.lang.Short can not be converted to an String"},
		{"CreateStream", `{"StreamName":-2147483648}`, "class java.lang.Integer can not be converted to an String"},
		{"CreateStream", `{"StreamName":2147483648}`, "class java.lang.Long can not be converted to an String"},
		{"CreateStream", `{"StreamName":[]}`, "Start of list found where not expected"},
		{"CreateStream", `{"StreamName":{}}`, "Start of structure or map found where not expected."},
		{"CreateStream", `{"ShardCount":"3"}`, "class java.lang.String can not be converted to an Integer"},
		{"CreateStream", `{"StreamModeDetails":"x"}`, "Expected null"},
		{"AddTagsToStream", `{"Tags":[]}`, "Expected map or null"},
		{"RemoveTagsFromStream", `{"TagKeys":"x"}`, "Expected list or null"},
		{"DeleteStream", `{"EnforceConsumerDeletion":5}`, "class java.lang.Short can not be converted to an Boolean"},
		{"ListShards", `{"StreamCreationTimestamp":"x"}`, "class java.lang.String can not be converted to milliseconds since epoch"},
		{"PutRecord", `{"Data":5}`, "class java.lang.Short can not be converted to a Blob"},
		{"PutRecord", `{"Data":"23456"}`, "'23456' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 5"},
		{"PutRecord", `{"Data":"=+/="}`, "'=+/=' can not be converted to a Blob: Invalid Base64 character: '='"},
		{"PutRecord", `{"Data":"+/+="}`, "'+/+=' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"},
		{"PutRecords", `{"Records":[{"Data":[]}]}`, "Start of list found where not expected"},
	} {
		got := r.json(tt.operation, tt.body)
		var document struct {
			Type    string `json:"__type"`
			Message string
		}
		r.must(json.Unmarshal(got.body, &document))
		if got.status != 400 || document.Type != "SerializationException" || document.Message != tt.want {
			t.Errorf("%s %s: %d %s, want %q", tt.operation, tt.body, got.status, got.body, tt.want)
		}
	}
}

// TestValidation checks the words of AWS for values that the model does not allow.
func TestValidation(t *testing.T) {
	r := newRig(t)
	r.stream("s", 1)
	many := strings.TrimSuffix(strings.Repeat(`{"Data":"","PartitionKey":""},`, 12), ",")
	for _, tt := range []struct{ operation, body, want string }{
		{"CreateStream", `{}`, "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null"},
		{"CreateStream", `{"StreamName":"","ShardCount":0}`, "3 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
			"Value '' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+; " +
			"Value '0' at 'shardCount' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"GetShardIterator", `{"StreamName":"s","ShardId":"x","ShardIteratorType":"NOW"}`, "1 validation error detected: Value 'NOW' at 'shardIteratorType' failed to satisfy constraint: " +
			"Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"},
		{"ListStreams", `{"Limit":10001}`, "1 validation error detected: Value '10001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 10000"},
		{"CreateStream", `{"StreamName":"t","ShardCount":1,"StreamModeDetails":{}}`, "1 validation error detected: Value null at 'streamModeDetails.streamMode' failed to satisfy constraint: Member must not be null"},
		{"AddTagsToStream", `{"StreamName":"s","Tags":{"":"v"}}`, "1 validation error detected: Value '{=v}' at 'tags' failed to satisfy constraint: " +
			"Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"},
		{"AddTagsToStream", `{"StreamName":"s","Tags":{"k":"` + strings.Repeat("v", 257) + `"}}`, "1 validation error detected: Value '{k=" + strings.Repeat("v", 257) + "}' at 'tags' failed to satisfy constraint: " +
			"Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or equal to 0]"},
		{"RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["a",""]}`, "1 validation error detected: Value '[a, ]' at 'tagKeys' failed to satisfy constraint: " +
			"Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"},
		{"RemoveTagsFromStream", `{"StreamName":"s","TagKeys":[null]}`, "1 validation error detected: Value '[null]' at 'tagKeys' failed to satisfy constraint: " +
			"Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1]"},
		{"EnableEnhancedMonitoring", `{"StreamName":"s","ShardLevelMetrics":["ALL",null]}`, "1 validation error detected: Value '[ALL, null]' at 'shardLevelMetrics' failed to satisfy constraint: " +
			"Member must satisfy constraint: [Member must satisfy enum value set: [IncomingBytes, IncomingRecords, OutgoingBytes, OutgoingRecords, " +
			"WriteProvisionedThroughputExceeded, ReadProvisionedThroughputExceeded, IteratorAgeMilliseconds, ALL]]"},
		{"PutRecords", `{"StreamName":"s","Records":[{"Data":"","PartitionKey":"k"},null]}`, "1 validation error detected: Value null at 'records.2.member' failed to satisfy constraint: Member must not be null"},
		{"PutRecords", `{"StreamName":"s","Records":[` + many + `]}`, ""},
	} {
		got := r.json(tt.operation, tt.body)
		var document struct {
			Type    string `json:"__type"`
			Message string `json:"message"`
		}
		r.must(json.Unmarshal(got.body, &document))
		if got.status != 400 || document.Type != "ValidationException" || tt.want != "" && document.Message != tt.want {
			t.Errorf("%s %s: %d %s\nwant %q", tt.operation, tt.body, got.status, got.body, tt.want)
		}
		if tt.want == "" && !strings.HasPrefix(document.Message, "10 validation errors detected: ") {
			t.Errorf("%s: %s, want ten errors", tt.operation, document.Message)
		}
	}
	got := r.json("PutRecords", `{"StreamName":"s","Records":[`+strings.TrimSuffix(strings.Repeat(`{"Data":"","PartitionKey":"k"},`, 501), ",")+`]}`)
	if !strings.Contains(string(got.body), "Value '[PutRecordsRequestEntry, PutRecordsRequestEntry, ") || !strings.Contains(string(got.body), "less than or equal to 500") {
		t.Errorf("501 records: %s", got.body)
	}
}

// TestCompact checks the bytes that Fluent Bit looks for.
func TestCompact(t *testing.T) {
	r := newRig(t)
	r.stream("s", 1)
	got := r.json("PutRecords", `{"StreamName":"s","Records":[{"Data":"aGk=","PartitionKey":"k"}]}`)
	if !bytes.Contains(got.body, []byte(`"FailedRecordCount":0`)) || bytes.ContainsAny(got.body, " \n") {
		t.Errorf("PutRecords is answered %s", got.body)
	}
}

// TestCBOR speaks CBOR as the Java SDKs do.
func TestCBOR(t *testing.T) {
	r := newRig(t)
	r.stream("s", 1)
	got, document := r.cbor("PutRecords", unhex(cborPuts[0].hex))
	if got.status != 200 || got.header.Get("Content-Type") != typeCBOR || document["FailedRecordCount"] != uint64(0) {
		t.Fatalf("PutRecords is answered %d %v", got.status, document)
	}
	for _, body := range []map[string]any{
		{"StreamName": "s", "ShardId": firstShard, "ShardIteratorType": "TRIM_HORIZON"},
		{"StreamName": "s", "ShardId": firstShard, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cbor.Tag{Number: 1, Content: 1}},
	} {
		_, document = r.cbor("GetShardIterator", mustCBOR(body))
		got, document = r.cbor("GetRecords", mustCBOR(map[string]any{"ShardIterator": document["ShardIterator"]}))
		list, _ := document["Records"].([]any)
		if len(list) != 1 || document["MillisBehindLatest"] != uint64(0) || document["NextShardIterator"] == nil {
			t.Fatalf("GetRecords is answered %v", document)
		}
		rec := list[0].(map[any]any)
		if string(rec["Data"].([]byte)) != "hi" || rec["PartitionKey"] != "k" {
			t.Errorf("the record is %v", rec)
		}
		if bytes.Contains(got.body, []byte("\xc1\xfb")) || !bytes.Contains(got.body, []byte("ApproximateArrivalTimestamp\xc1\x1b")) {
			t.Errorf("times are not tag 1 and whole milliseconds: %x", got.body)
		}
	}
	// A time in the future, in milliseconds, is one.
	_, document = r.cbor("GetShardIterator", mustCBOR(map[string]any{
		"StreamName": "s", "ShardId": firstShard, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cbor.Tag{Number: 1, Content: int64(1) << 42},
	}))
	if document["__type"] != "InvalidArgumentException" {
		t.Errorf("a time in the future is answered %v", document)
	}
	got, document = r.cbor("DescribeStreamSummary", mustCBOR(map[string]any{"StreamName": "s"}))
	if got.status != 200 || !bytes.Contains(got.body, []byte("StreamCreationTimestamp\xc1\x1b")) {
		t.Errorf("DescribeStreamSummary is answered %v, %x", document, got.body)
	}
	got, document = r.cbor("DescribeStream", mustCBOR(map[string]any{"StreamName": "nope"}))
	if got.status != 400 || document["__type"] != "ResourceNotFoundException" || document["message"] == nil || got.header.Get("x-amzn-ErrorType") != "ResourceNotFoundException" {
		t.Errorf("a stream that is not there is answered %d %v", got.status, document)
	}
	got, _ = r.cbor("AddTagsToStream", mustCBOR(map[string]any{"StreamName": "s", "Tags": map[string]string{"k": "v"}}))
	if got.status != 200 || len(got.body) != 0 || got.header.Get("Content-Type") != typeCBOR {
		t.Errorf("an empty answer is %d %q", got.status, got.body)
	}
	got, document = r.cbor("ListStreams", []byte{0xbf})
	if got.status != 400 || document["__type"] != "SerializationException" {
		t.Errorf("half a map is answered %d %v", got.status, document)
	}
}

// TestOverHTTP2 calls operations over HTTP/2 without TLS.
func TestOverHTTP2(t *testing.T) {
	r := newRig(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	c := kinesis.New(r.Options(), func(o *kinesis.Options) { o.HTTPClient = &http.Client{Transport: transport} })
	name, count := "s", int32(2)
	ok(c.CreateStream(r.ctx, &kinesis.CreateStreamInput{StreamName: &name, ShardCount: &count}))(t)
	if got := ok(c.DescribeStreamSummary(r.ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &name}))(t); got.StreamDescriptionSummary.StreamStatus != types.StreamStatusActive {
		t.Errorf("the stream is %s", got.StreamDescriptionSummary.StreamStatus)
	}
}

func TestAuthenticate(t *testing.T) {
	want := credential{"AKID", "20261121", "us-east-1", "kinesis"}
	r, _ := http.NewRequest(http.MethodPost, "http://localhost/", nil)
	if got := authenticate(r); got != (credential{}) {
		t.Errorf("nobody is %+v", got)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20261121/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, Signature=00")
	if got := authenticate(r); got != want {
		t.Errorf("the header's caller is %+v, want %+v", got, want)
	}
	r, _ = http.NewRequest(http.MethodPost, "http://localhost/?X-Amz-Credential=AKID%2F20261121%2Fus-east-1%2Fkinesis%2Faws4_request", nil)
	if got := authenticate(r); got != want {
		t.Errorf("the query's caller is %+v, want %+v", got, want)
	}
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
	if got := authenticate(r); got != (credential{}) {
		t.Errorf("half a credential is %+v", got)
	}
}
