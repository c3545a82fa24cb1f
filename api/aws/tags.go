package aws

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/shardmill/shardmill/shards"
)

// checkTags says whether tags can be set on a resource that has others. Error: InvalidArgumentException.
func checkTags(have, set map[string]string) error {
	if key, found := reservedTag(set); found {
		return invalidArgument(reservedTags, cut(key))
	}
	all := len(have)
	for key, value := range set {
		if !isTag(key) || !isTag(value) {
			return invalidArgument("Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - %% @.")
		}
		if _, ok := have[key]; !ok {
			all++
		}
	}
	if all > shards.MaxTags {
		return invalidArgument("Failed to add tags: a resource cannot have more than %d tags associated with it.", shards.MaxTags)
	}
	return nil
}

// reservedTags is AWS's answer to tags with its own prefix, and ours to which one it is.
const reservedTags = "aws: prefixed tag key names are not allowed for external use: Tags has %s."

// reservedTag finds the first key among tags that has the prefix aws:, in any case of its letters.
func reservedTag(set map[string]string) (key string, found bool) {
	const prefix = "aws:"
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) {
			return key, true
		}
	}
	return "", false
}

func isTag(s string) bool {
	for _, c := range s {
		switch {
		case unicode.IsLetter(c), unicode.IsMark(c), unicode.IsNumber(c), unicode.IsSpace(c):
		case c == '_', c == '.', c == ':', c == '/', c == '=', c == '+', c == '-', c == '@', c == '%':
		default:
			return false
		}
	}
	return true
}

type tag struct {
	Key   string
	Value string
}

// tagsOf are tags on the wire, by key.
func tagsOf(tags map[string]string) []tag {
	out := make([]tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, tag{key, tags[key]})
	}
	return out
}

type addTagsInput struct {
	streamRef
	Tags map[string]string `aws:"required;len=1..200;key.len=1..128;value.len=0..256"`
}

func addTagsToStream(c *call, in *addTagsInput) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	if err := checkTags(d.Tags, in.Tags); err != nil {
		return nil, err
	}
	return c.update(d.Name, shards.Change{SetTags: in.Tags})
}

type removeTagsInput struct {
	streamRef
	TagKeys []string `aws:"required;len=1..50;elem.len=1..128"`
}

func removeTagsFromStream(c *call, in *removeTagsInput) (any, error) {
	name, err := c.streamName(in.streamRef)
	if err != nil {
		return nil, err
	}
	return c.update(name, shards.Change{RemoveTags: in.TagKeys})
}

// update changes a stream; the answer is empty.
func (c *call) update(name string, change shards.Change) (any, error) {
	_, err := c.streams.Update(c.r.Context(), name, change)
	return nil, err
}

type listTagsInput struct {
	streamRef
	ExclusiveStartTagKey string `aws:"len=1..128"`
	Limit                int    `aws:"range=1..50"`
}

type listTagsOutput struct {
	Tags        []tag
	HasMoreTags bool
}

func listTagsForStream(c *call, in *listTagsInput) (any, error) {
	d, err := c.description(in.streamRef)
	if err != nil {
		return nil, err
	}
	tags := slices.DeleteFunc(tagsOf(d.Tags), func(t tag) bool { return t.Key <= in.ExclusiveStartTagKey })
	out := listTagsOutput{Tags: tags}
	if in.Limit != 0 && len(tags) > in.Limit {
		out = listTagsOutput{Tags: tags[:in.Limit], HasMoreTags: true}
	}
	return out, nil
}

// resourceRef names a stream or a consumer.
type resourceRef struct {
	ResourceARN string `aws:"required;len=1..2048;pattern=resource"`
	StreamId    string `aws:"len=1..24;pattern=streamid"`
}

// resource is a stream, or one of its consumers.
type resource struct {
	stream   shards.Description
	consumer *shards.Consumer // nil: the stream itself
}

// resource finds what an ARN names.
func (c *call) resource(ref resourceRef) (resource, error) {
	parsed, err := c.parseARN(ref.ResourceARN)
	if err != nil {
		return resource{}, err
	}
	c.names.stream = parsed.stream
	d, err := c.streams.Describe(c.r.Context(), parsed.stream)
	if err != nil || parsed.consumer == "" {
		return resource{stream: d}, err
	}
	consumer, err := c.consumer(d, parsed)
	return resource{d, &consumer}, err
}

type tagResourceInput struct {
	resourceRef
	Tags map[string]string `aws:"required;len=1..200;key.len=1..128;value.len=0..256"`
}

func tagResource(c *call, in *tagResourceInput) (any, error) {
	r, err := c.resource(in.resourceRef)
	if err != nil {
		return nil, err
	}
	if err := checkTags(r.tags(), in.Tags); err != nil {
		return nil, err
	}
	return nil, c.retag(r, in.Tags, nil)
}

type untagResourceInput struct {
	resourceRef
	TagKeys []string `aws:"required;len=1..50;elem.len=1..128"`
}

func untagResource(c *call, in *untagResourceInput) (any, error) {
	r, err := c.resource(in.resourceRef)
	if err != nil {
		return nil, err
	}
	return nil, c.retag(r, nil, in.TagKeys)
}

func (c *call) retag(r resource, set map[string]string, remove []string) error {
	if r.consumer != nil {
		_, err := c.streams.UpdateConsumer(c.r.Context(), r.stream.Name, r.consumer.Name, set, remove)
		return err
	}
	_, err := c.update(r.stream.Name, shards.Change{SetTags: set, RemoveTags: remove})
	return err
}

func (r resource) tags() map[string]string {
	if r.consumer != nil {
		return r.consumer.Tags
	}
	return r.stream.Tags
}

type resourceTagsOutput struct{ Tags []tag }

func listTagsForResource(c *call, in *resourceRef) (any, error) {
	r, err := c.resource(*in)
	if err != nil {
		return nil, err
	}
	return resourceTagsOutput{tagsOf(r.tags())}, nil
}
