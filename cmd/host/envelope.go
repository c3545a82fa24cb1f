package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
	lambda "github.com/shardmill/shardmill/triggers/event"
)

// events is what Lambda's events of a mapping share: the names that the stream has on the AWS surface.
func (h *host) events(m triggers.Mapping, streamID string) lambda.Envelope {
	region, account := cmp.Or(h.config.aws.region, aws.DefaultRegion), cmp.Or(h.config.aws.account, aws.DefaultAccount)
	return lambda.Envelope{
		Region: region, StreamARN: sourceARN(h.streams, region, account, m.Stream, m.Consumer), Role: aws.RoleARN(h.settings, account, m.Function), Numbers: sequence.Of(streamID),
	}
}

// sourceARN is that of the mapping's stream, or of the consumer that it reads as; a consumer that is not there any more has no second.
func sourceARN(streams *shards.Store, region, account, stream, consumer string) string {
	arn := "arn:aws:kinesis:" + region + ":" + account + ":stream/" + stream
	if consumer == "" {
		return arn
	}
	arn += "/consumer/" + consumer
	d, err := streams.Describe(context.Background(), stream)
	if err != nil {
		return arn
	}
	for _, c := range d.Consumers {
		if c.Name == consumer {
			return arn + ":" + strconv.FormatInt(c.Created.Unix(), 10)
		}
	}
	return arn
}
