package aws

import (
	"context"
	"maps"
	"strings"

	"github.com/shardmill/shardmill/triggers"
)

// maxLambdaTags is how many tags a resource of Lambda's can have.
const maxLambdaTags = 50

// taggedMapping is the mapping that a request's ARN names.
func (c *call) taggedMapping() (triggers.Status, error) {
	id, ok := strings.CutPrefix(c.params["ARN"], c.lambdaPlace()+mappingResource)
	if !ok {
		return triggers.Status{}, refuseParameter("%s is not the ARN of a resource that can have tags here.", cut(c.params["ARN"]))
	}
	return c.mapping(id)
}

type lambdaTagsOutput struct{ Tags map[string]string }

func listLambdaTags(c *call) (any, error) {
	s, err := c.taggedMapping()
	if err != nil {
		return nil, err
	}
	return lambdaTagsOutput{s.Tags}, nil
}

type lambdaTagInput struct {
	Tags map[string]string `aws:"required;key.len=1..128;value.len=0..256"`
}

func tagLambda(c *call, in *lambdaTagInput) (any, error) {
	return nil, c.retagLambda(func(tags map[string]string) { maps.Copy(tags, in.Tags) })
}

func untagLambda(c *call) (any, error) {
	keys := c.r.URL.Query()["tagKeys"]
	if len(keys) == 0 {
		return nil, faultf(codeValidation, "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null")
	}
	return nil, c.retagLambda(func(tags map[string]string) {
		for _, key := range keys {
			delete(tags, key)
		}
	})
}

// retagLambda changes the tags of the resource that a request names, one request at a time.
func (c *call) retagLambda(change func(tags map[string]string)) error {
	c.lambda.changing.Lock()
	defer c.lambda.changing.Unlock()
	s, err := c.taggedMapping()
	if err != nil {
		return err
	}
	tags := map[string]string{}
	maps.Copy(tags, s.Tags)
	change(tags)
	if len(tags) > maxLambdaTags {
		return refuseParameter("Number of tags exceeds resource tag limit.")
	}
	s.Tags = tags
	_, _, err = c.lambda.mappings.Put(context.WithoutCancel(c.r.Context()), s.Mapping)
	return err
}
