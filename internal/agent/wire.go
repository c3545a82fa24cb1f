package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	requestTime = time.Minute // for one request
	maxAnswer   = 8 << 20     // bytes of an answer that are read
)

// service is where one kind of flow puts its records.
type service struct {
	http        *http.Client
	url         string
	name        string // of the service, for signatures
	target      string // the operation
	region      string
	credentials aws.Credentials // empty: requests are not signed
	signer      *v4.Signer
	agent       string
}

// endpointURL is an endpoint as configurations have it; without a scheme it is https, as with the Amazon Kinesis Agent.
func endpointURL(endpoint string) (string, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("endpoint %q: must be http://host:port or https://host:port", endpoint)
	}
	u.Path = strings.TrimRight(u.Path, "/") + "/"
	return u.String(), nil
}

var regionOfHost = regexp.MustCompile(`(?:kinesis|firehose)\.([a-z0-9-]+)\.amazonaws\.com`)

// refusal is an answer that is not a success.
type refusal struct {
	status  int
	code    string
	message string
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s: %s", r.status, r.code, r.message))
}

// result is what an answer says of one record.
type result struct {
	ErrorCode    string `json:"ErrorCode"`
	ErrorMessage string `json:"ErrorMessage"`
}

// put sends records and returns, one for each, what became of them. An error means that nobody knows, or that none was taken.
func (s *service) put(ctx context.Context, f *Flow, records []entry) ([]result, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	body := appendRequest(nil, f, records)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", s.target)
	req.Header.Set("User-Agent", s.agent)
	if s.credentials.HasKeys() {
		sum := sha256.Sum256(body)
		if err := s.signer.SignHTTP(ctx, s.credentials, req, hex.EncodeToString(sum[:]), s.name, s.region, time.Now()); err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, parseRefusal(resp.StatusCode, answer)
	}
	return parseAnswer(answer, len(records))
}

// appendRequest writes the body of PutRecords or PutRecordBatch.
func appendRequest(b []byte, f *Flow, records []entry) []byte {
	member := `{"StreamName":`
	if f.Firehose {
		member = `{"DeliveryStreamName":`
	}
	b = append(append(b, member...), quoted(f.Stream)...)
	b = append(b, `,"Records":[`...)
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"Data":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.data)
		b = append(b, '"')
		if !f.Firehose {
			b = append(b, `,"PartitionKey":`...)
			b, _ = jsontext.AppendQuote(b, r.key) // made by us
		}
		b = append(b, '}')
	}
	return append(b, `]}`...)
}

// parseAnswer reads the answer to n records.
func parseAnswer(body []byte, n int) ([]result, error) {
	var answer struct {
		Records          []result // PutRecords
		RequestResponses []result // PutRecordBatch
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("the answer cannot be read: %w", err)
	}
	results := answer.Records
	if results == nil {
		results = answer.RequestResponses
	}
	if len(results) != n {
		return nil, fmt.Errorf("the answer is about %d records, %d were sent", len(results), n)
	}
	return results, nil
}

func parseRefusal(status int, body []byte) error {
	r := &refusal{status: status}
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message,case:ignore"`
	}
	if json.Unmarshal(body, &said) == nil {
		_, r.code, _ = strings.Cut(said.Type, "#")
		if r.code == "" {
			r.code = said.Type
		}
		r.message = said.Message
	}
	if r.code == "" {
		r.code = http.StatusText(status)
	}
	return r
}
