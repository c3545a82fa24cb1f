package aws

import (
	"slices"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// consumer is a consumer on the wire.
type consumer struct {
	ConsumerName              string
	ConsumerARN               string
	ConsumerStatus            string
	ConsumerCreationTimestamp instant
	StreamARN                 string `json:",omitzero"`
}

func (h *Handler) consumerOf(stream string, c shards.Consumer) consumer {
	return consumer{
		ConsumerName: c.Name, ConsumerARN: h.consumerARN(stream, c.Name, c.Created),
		ConsumerStatus: "ACTIVE", ConsumerCreationTimestamp: instantOf(c.Created),
	}
}

// consumer finds a registered consumer; one that was registered anew since is another one.
func (c *call) consumer(d shards.Description, a arn) (shards.Consumer, error) {
	c.names.consumer = a.consumer
	i := slices.IndexFunc(d.Consumers, func(con shards.Consumer) bool {
		return con.Name == a.consumer && (a.second == 0 || con.Created.Unix() == a.second)
	})
	if i < 0 {
		return shards.Consumer{}, shards.ErrNoConsumer
	}
	return d.Consumers[i], nil
}

type consumerRef struct {
	StreamARN    string `aws:"len=1..2048;pattern=stream"`
	ConsumerName string `aws:"len=1..128;pattern=name"`
	ConsumerARN  string `aws:"len=1..2048;pattern=consumer"`
	StreamId     string `aws:"len=1..24;pattern=streamid"`
}

// registered finds the consumer that a request names, by its ARN or by name and stream.
func (c *call) registered(ref consumerRef) (shards.Description, shards.Consumer, error) {
	var a arn
	var err error
	switch {
	case ref.ConsumerARN != "":
		if a, err = c.parseARN(ref.ConsumerARN); err != nil {
			return shards.Description{}, shards.Consumer{}, err
		}
		if ref.ConsumerName != "" && ref.ConsumerName != a.consumer {
			return shards.Description{}, shards.Consumer{}, invalidArgument("ConsumerName %s and ConsumerARN %s do not name the same consumer.", ref.ConsumerName, ref.ConsumerARN)
		}
	case ref.ConsumerName == "" || ref.StreamARN == "" && ref.StreamId == "":
		return shards.Description{}, shards.Consumer{}, invalidArgument("Either ConsumerARN or both StreamARN and ConsumerName must be provided.")
	}
	stream := streamRef{StreamName: a.stream, StreamARN: ref.StreamARN, StreamId: ref.StreamId}
	d, err := c.description(stream)
	if err != nil {
		return d, shards.Consumer{}, err
	}
	if a.consumer == "" {
		a.consumer = ref.ConsumerName
	}
	con, err := c.consumer(d, a)
	return d, con, err
}

type registerConsumerInput struct {
	StreamARN    string            `aws:"required;len=1..2048;pattern=stream"`
	ConsumerName string            `aws:"required;len=1..128;pattern=name"`
	StreamId     string            `aws:"len=1..24;pattern=streamid"`
	Tags         map[string]string `aws:"len=1..200;key.len=1..128;value.len=0..256"`
}

type registerConsumerOutput struct{ Consumer consumer }

func registerStreamConsumer(c *call, in *registerConsumerInput) (any, error) {
	name, err := c.streamName(streamRef{StreamARN: in.StreamARN, StreamId: in.StreamId})
	if err != nil {
		return nil, err
	}
	if err := checkTags(nil, in.Tags); err != nil {
		return nil, err
	}
	if _, err := c.streams.Stream(name); err != nil {
		return nil, err
	}
	c.names.consumer = in.ConsumerName
	con, err := c.streams.RegisterConsumer(c.r.Context(), name, in.ConsumerName, in.Tags)
	if isInvalid(err, "consumers") {
		return nil, faultf(codeLimit, "Stream %s under account %s has %d registered consumers, as many as it can have.", name, c.account, shards.MaxConsumers)
	}
	if err != nil {
		return nil, err
	}
	return registerConsumerOutput{c.consumerOf(name, con)}, nil
}

func deregisterStreamConsumer(c *call, in *consumerRef) (any, error) {
	d, con, err := c.registered(*in)
	if err != nil {
		return nil, err
	}
	if err := c.streams.DeregisterConsumer(c.r.Context(), d.Name, con.Name); err != nil {
		return nil, err
	}
	c.subscriptions.end(d.ID, con.Name)
	if policy := attributePolicy + "." + con.Name; d.Attributes[policy] != nil {
		return c.update(d.Name, shards.Change{Attributes: attributeOf(policy, nil)})
	}
	return nil, nil
}

type describeConsumerOutput struct{ ConsumerDescription consumer }

func describeStreamConsumer(c *call, in *consumerRef) (any, error) {
	d, con, err := c.registered(*in)
	if err != nil {
		return nil, err
	}
	out := c.consumerOf(d.Name, con)
	out.StreamARN = c.streamARN(d.Name)
	return describeConsumerOutput{out}, nil
}

type listConsumersInput struct {
	StreamARN               string `aws:"required;len=1..2048;pattern=stream"`
	NextToken               string `aws:"len=1..1048576"`
	MaxResults              int    `aws:"range=1..10000"`
	StreamCreationTimestamp instant
	StreamId                string `aws:"len=1..24;pattern=streamid"`
}

type listConsumersOutput struct {
	Consumers []consumer
	NextToken string `json:",omitzero"`
}

// maxListedConsumers is how many consumers one ListStreamConsumers lists.
const maxListedConsumers = 100

func listStreamConsumers(c *call, in *listConsumersInput) (any, error) {
	d, err := c.description(streamRef{StreamARN: in.StreamARN, StreamId: in.StreamId})
	if err != nil {
		return nil, err
	}
	if at := in.StreamCreationTimestamp; at != 0 && int64(at)/1000 != d.Created.Unix() {
		return nil, shards.ErrNotFound
	}
	after := ""
	if in.NextToken != "" {
		t, err := parseToken(in.NextToken, tokenConsumers, time.Now())
		if err != nil {
			return nil, err
		}
		if t.ID != d.ID {
			return nil, invalidArgument("NextToken is invalid.")
		}
		after = t.After
	}
	most := maxListedConsumers
	if in.MaxResults != 0 {
		most = min(most, in.MaxResults)
	}
	out := listConsumersOutput{}
	for _, con := range d.Consumers {
		if con.Name <= after {
			continue
		}
		if len(out.Consumers) == most {
			out.NextToken = token{Kind: tokenConsumers, ID: d.ID, After: out.Consumers[most-1].ConsumerName}.String()
			break
		}
		out.Consumers = append(out.Consumers, c.consumerOf(d.Name, con))
	}
	return out, nil
}
