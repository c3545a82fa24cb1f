package destination

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/shardmill/shardmill/internal/field"
)

// S3 is where buckets are. The zero value is nowhere.
type S3 struct {
	Endpoint     string // URL of the server; "" is AWS
	Region       string // "" is us-east-1
	AccessKey    string // without it there are no buckets
	SecretKey    string
	SessionToken string // "" is none
	PathStyle    bool   // the bucket stands in the path; else in the host's name
}

// store is one S3 server.
type store struct {
	client    *s3.Client
	transport *http.Transport
}

// newStore does not connect. Errors are settings that cannot be.
func newStore(o S3) (*store, error) {
	if o.SecretKey == "" {
		return nil, errors.New("S3: an access key is given without its secret key")
	}
	options := s3.Options{
		Region:       cmp.Or(o.Region, "us-east-1"),
		UsePathStyle: o.PathStyle,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, SessionToken: o.SessionToken, Source: "settings"}, nil
		}),
		Retryer: aws.NopRetryer{}, // whoever delivers tries again
		// Checksums of the SDK's own making, which come behind the body, are not known to every server; Content-MD5 is, and AWS asks for one
		// of them where objects are locked.
		RequestChecksumCalculation:  aws.RequestChecksumCalculationWhenRequired,
		DisableS3ExpressSessionAuth: new(true),
	}
	if o.Endpoint != "" {
		if err := CheckEndpoint(o.Endpoint); err != nil {
			return nil, err
		}
		options.BaseEndpoint = &o.Endpoint
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = maxIdle
	options.HTTPClient = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &store{s3.New(options), transport}, nil
}

// CheckEndpoint refuses what is no URL of an S3 server. Errors are *field.Error.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != schemeHTTP && u.Scheme != schemeHTTPS || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return field.Invalid("endpoint", endpoint, "http://host:port or https://host:port")
	}
	return nil
}

func (s *store) close() { s.transport.CloseIdleConnections() }

// Bucket stores objects in a bucket, below a prefix.
type Bucket struct {
	store  *store
	name   string
	prefix string // empty, or it ends with a slash
}

func (d *Destinations) bucket(t *target) (Bucket, error) {
	if d.s3 == nil {
		return Bucket{}, misconfiguredf("this host has no credentials for S3 (AWS_ACCESS_KEY_ID)")
	}
	return Bucket{d.s3, t.name, t.prefix}, nil
}

// Put stores an object, in place of what has its key, and returns when the server has said so. It reads the body from its start, more than once.
func (b Bucket) Put(ctx context.Context, key, contentType string, body io.ReadSeeker) error {
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum := md5.New()
	if _, err := io.Copy(sum, body); err != nil {
		return err
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	key = b.prefix + key
	md5 := base64.StdEncoding.EncodeToString(sum.Sum(nil))
	_, err := b.store.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: &key, Body: body, ContentType: &contentType, ContentMD5: &md5,
	})
	return judge(err)
}

// Check says why objects cannot be stored: it asks for the bucket, for which AWS wants s3:ListBucket.
func (b Bucket) Check(ctx context.Context) error {
	_, err := b.store.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.name})
	answer := (*awshttp.ResponseError)(nil)
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		return withoutURL(err)
	}
	// The answer to HEAD has no body that would say more.
	switch status := answer.HTTPStatusCode(); status {
	case http.StatusNotFound:
		return fmt.Errorf("there is no bucket %q", b.name)
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("bucket %q is refused with status %d: the host's credentials need s3:ListBucket and s3:PutObject", b.name, status)
	case http.StatusMovedPermanently, http.StatusBadRequest:
		region := cmp.Or(answer.HTTPResponse().Header.Get("X-Amz-Bucket-Region"), "another one")
		return fmt.Errorf("bucket %q is refused with status %d: its region is %s, and the host asks in %s", b.name, status, region, b.store.client.Options().Region)
	}
	return err
}

// judge tells what lasts from what may pass. What has been answered counts, whatever became of the rest of the answer.
func judge(err error) error {
	answer := (*awshttp.ResponseError)(nil)
	if errors.As(err, &answer) && answer.HTTPStatusCode() == 0 {
		return withoutURL(err) // nothing was answered, and the rest of the SDK's words are about an answer
	}
	if answer == nil || passing.IsErrorRetryable(err) == aws.TrueTernary {
		return err
	}
	return byStatus(answer.HTTPStatusCode(), err)
}

// passing are the codes of AWS that mean: try again.
var passing = retry.IsErrorRetryables{
	retry.RetryableErrorCode{Codes: retry.DefaultRetryableErrorCodes},
	retry.RetryableErrorCode{Codes: retry.DefaultThrottleErrorCodes},
	retry.RetryableErrorCode{Codes: map[string]struct{}{"OperationAborted": {}}}, // another write of the key is under way
}
