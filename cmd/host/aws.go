package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/internal/destination"
	"github.com/shardmill/shardmill/shards"
)

// awsConfig is how the AWS surface is set up. Its zero value is the default.
type awsConfig struct {
	region, account string
	limits          string // of shards: "" or "none", or "aws"
}

// awsSettings are the flags of addFlags that are also SHARDMILL_* variables and keys of the config file.
var awsSettings = []string{"region", "account", "shard-limits"}

func (c *awsConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.region, "region", aws.DefaultRegion, "AWS region that the streams are said to be in")
	flags.StringVar(&c.account, "account", aws.DefaultAccount, "AWS account, 12 digits, that the streams are said to belong to")
	flags.StringVar(&c.limits, "shard-limits", "none", "limits of the shards of provisioned streams that AWS clients create: none, or aws (1 MiB and 1,000 records a second in, 2 MiB and 5 reads a second out)")
}

// check refuses what cannot be; from tells where each setting was given.
func (c *awsConfig) check(from sources) error {
	if err := aws.CheckPlace(c.region, aws.DefaultAccount); err != nil {
		return usagef("%s: %v", from.of("region"), err)
	}
	if err := aws.CheckPlace(aws.DefaultRegion, c.account); err != nil {
		return usagef("%s: %v", from.of("account"), err)
	}
	if c.limits != "none" && c.limits != "aws" {
		return usagef("%s is %q; it can be none or aws", from.of("shard-limits"), c.limits)
	}
	return nil
}

// openAWS makes the handler of the AWS surface.
func (h *host) openAWS(ctx context.Context, metrics prometheus.Registerer) (*aws.Handler, error) {
	settings, err := h.catalog.Table(ctx, "aws")
	if err != nil {
		return nil, err
	}
	o := aws.Options{
		Streams: h.streams, Settings: settings, Functions: h.functions, Mappings: mappings{h.mappings, h.state}, Destinations: outcomes{h.destinations},
		Region: h.config.aws.region, Account: h.config.aws.account,
		Logger: h.config.logger.With("part", "aws"), Registerer: metrics,
	}
	if h.config.aws.limits == "aws" {
		o.Limits = shards.LimitsAWS
	}
	return aws.New(o)
}

// outcomes delivers the documents of asynchronous invocations to where mappings' failures can go, too.
type outcomes struct{ to *destination.Destinations }

// Check refuses a destination that cannot work.
func (o outcomes) Check(ctx context.Context, uri string) error { return o.to.Check(ctx, uri) }

// Deliver returns when the document is stored. In a stream its partition key is the invocation's ID.
func (o outcomes) Deliver(ctx context.Context, uri string, d aws.Document) error {
	err := o.to.Deliver(ctx, uri, destination.Document{ID: d.ID, Key: d.Key, Shard: d.ID, Whole: d.Whole, Brief: d.Brief})
	if errors.Is(err, destination.ErrMisconfigured) {
		return fmt.Errorf("%w: %w", aws.ErrMisconfigured, err)
	}
	return err
}

// bySurface gives AWS's clients to their handler, and everybody else to the native one. AWS's clients name an operation in a header
// whatever the path, or have a path of Lambda's; else only what such clients could mean is theirs, so that a browser at "/" is told where it is.
func bySurface(native, amazon http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		looking := r.Method == http.MethodGet || r.Method == http.MethodHead
		if r.Header.Get("X-Amz-Target") != "" || aws.IsLambda(r.URL.Path) || r.URL.Path == "/" && !looking {
			amazon.ServeHTTP(w, r)
			return
		}
		native.ServeHTTP(w, r)
	})
}
