package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/internal/destination"
	"github.com/shardmill/shardmill/internal/egress"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// failureSettings are the flags of addFlags that are also SHARDMILL_* variables and keys of the config file.
var failureSettings = []string{"failure-dir", "failure-host", "s3-endpoint", "s3-region", "s3-addressing-style"}

// failureConfig is what on-failure destinations of mappings may be. Its zero value is the default: streams, and public HTTP addresses.
type failureConfig struct {
	folders []string // absolute paths; files must be below one of them
	hosts   []string // HTTP hosts that may have private addresses
	s3      destination.S3
	style   string // of addressing buckets: auto, path or virtual
}

func (c *failureConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&c.folders, "failure-dir", nil, "folder below which mappings may store failures (file:///folder); none unless given; repeatable")
	flags.StringSliceVar(&c.hosts, "failure-host", nil, "HOST or HOST:PORT with a private address to which mappings may post failures; public addresses need none; repeatable")
	flags.StringVar(&c.s3.Endpoint, "s3-endpoint", "", "URL of the S3 server for failures (default AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or AWS); credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	flags.StringVar(&c.s3.Region, "s3-region", "", "region of S3 (default AWS_REGION, AWS_DEFAULT_REGION or us-east-1)")
	flags.StringVar(&c.style, "s3-addressing-style", "auto", "where S3's URLs have the bucket: path, virtual (in the host's name) or auto (path with an endpoint, else virtual)")
}

// check takes what AWS's variables say and refuses what cannot be; from tells where each setting was given.
func (c *failureConfig) check(from sources, lookupEnv func(string) (string, bool)) error {
	for _, f := range c.folders {
		if !filepath.IsAbs(f) {
			return usagef("%s is %q; it must be the absolute path of a folder", from.of("failure-dir"), f)
		}
	}
	for _, h := range c.hosts {
		if _, err := egress.ParseHost(h); err != nil {
			return usagef("%s: %v", from.of("failure-host"), err)
		}
	}
	env := func(to *string, setting string, names ...string) {
		for _, name := range names {
			if v, ok := lookupEnv(name); ok && v != "" && *to == "" {
				*to, from[setting] = v, name
			}
		}
	}
	env(&c.s3.Endpoint, "s3-endpoint", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
	env(&c.s3.Region, "s3-region", "AWS_REGION", "AWS_DEFAULT_REGION")
	env(&c.s3.AccessKey, "", "AWS_ACCESS_KEY_ID")
	env(&c.s3.SecretKey, "", "AWS_SECRET_ACCESS_KEY")
	env(&c.s3.SessionToken, "", "AWS_SESSION_TOKEN")
	switch c.style {
	case "auto":
		c.s3.PathStyle = c.s3.Endpoint != ""
	case "path", "virtual":
		c.s3.PathStyle = c.style == "path"
	default:
		return usagef("%s is %q; it can be auto, path or virtual", from.of("s3-addressing-style"), c.style)
	}
	if c.s3.Endpoint != "" {
		if err := destination.CheckEndpoint(c.s3.Endpoint); err != nil {
			return usagef("%s: %v", from.of("s3-endpoint"), err)
		}
	}
	if (c.s3.AccessKey == "") != (c.s3.SecretKey == "") {
		return usagef("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY need each other")
	}
	return nil
}

// openDestinations makes what mappings deliver their failures to.
func (h *host) openDestinations(metrics prometheus.Registerer) (*destination.Destinations, error) {
	config := &h.config.failures
	o := destination.Options{Streams: failureStreams{h.streams}, S3: config.s3, Folders: config.folders, Registerer: metrics}
	for _, text := range config.hosts {
		host, err := egress.ParseHost(text)
		if err != nil {
			return nil, err
		}
		o.Hosts = append(o.Hosts, host)
	}
	for _, f := range config.folders {
		// It may be mounted later, and nothing else depends on it.
		if info, err := os.Stat(f); err != nil {
			h.config.logger.Warn("a folder for failures cannot be used", "error", err)
		} else if !info.IsDir() {
			h.config.logger.Warn("a folder for failures is no folder", "path", f)
		}
	}
	d, err := destination.New(o)
	if err != nil {
		return nil, err
	}
	h.onStop(func(context.Context) error { d.Close(); return nil })
	return d, nil
}

// sweepFailures removes, beside everything else, what a host that was killed left in the folders of the mappings and of asynchronous invocations.
func (h *host) sweepFailures(d *destination.Destinations) {
	folders := aws.FileDestinations(h.settings.List())
	for _, s := range h.mappings.List() {
		if uri := s.Mapping.OnFailure; strings.HasPrefix(uri, "file:") {
			folders = append(folders, uri)
		}
	}
	slices.Sort(folders)
	folders = slices.Compact(folders)
	ctx, cancel := context.WithCancel(context.Background())
	var sweeping sync.WaitGroup
	sweeping.Go(func() {
		for _, uri := range folders {
			if err := d.Sweep(ctx, uri); err != nil && ctx.Err() == nil {
				h.config.logger.Warn("files that a killed host left beside failures were not all removed", "folder", uri, "error", err)
			}
		}
	})
	h.onStop(func(context.Context) error { cancel(); sweeping.Wait(); return nil })
}

// failureStreams are the host's streams as destinations.
type failureStreams struct{ streams *shards.Store }

// MaxRecord does not block.
func (f failureStreams) MaxRecord(name string) (int, error) {
	stream, err := f.streams.Stream(name)
	if err != nil {
		return 0, misconfigured(err)
	}
	return stream.MaxRecordBytes(), nil
}

// Put returns when the record is on disk.
func (f failureStreams) Put(ctx context.Context, name, key string, data []byte) error {
	stream, err := f.streams.Stream(name)
	if err != nil {
		return misconfigured(err)
	}
	results, err := stream.Put(ctx, []record.Record{{Key: []byte(key), Data: data}}, nil)
	if err == nil {
		err = results[0].Err
	}
	return misconfigured(err)
}

// misconfigured tells what lasts from what may pass.
func misconfigured(err error) error {
	if errors.Is(err, shards.ErrNotFound) || errors.Is(err, shards.ErrInvalid) {
		return destination.Misconfigured(err)
	}
	return err
}
