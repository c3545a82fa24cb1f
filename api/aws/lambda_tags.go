package aws

import (
	"context"
	"maps"
	"strings"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers"
)

// maxLambdaTags is how many tags a resource of Lambda's can have.
const maxLambdaTags = 50

// tagged is the resource that a request's ARN names: a mapping, or else a function.
func (c *call) tagged() (mapping triggers.Status, function *runtime.Function, err error) {
	arn := c.params["ARN"]
	if id, ok := strings.CutPrefix(arn, c.lambdaPlace()+mappingResource); ok {
		mapping, err = c.mapping(id)
		return mapping, nil, err
	}
	if !strings.HasPrefix(arn, c.lambdaPlace()+"function:") {
		return mapping, nil, refuseParameter("%s is not the ARN of a resource that can have tags here.", cut(arn))
	}
	ref, err := c.parseFunction(arn)
	if err != nil {
		return mapping, nil, err
	}
	if ref.qualifier != "" {
		return mapping, nil, refuseParameter("Tags are of functions, not of their versions and aliases: %s", cut(arn))
	}
	f, err := c.function(ref)
	return mapping, &f, err
}

type lambdaTagsOutput struct{ Tags map[string]string }

func listLambdaTags(c *call) (any, error) {
	s, function, err := c.tagged()
	if err != nil || function == nil {
		return lambdaTagsOutput{s.Tags}, err
	}
	r, err := c.record(function)
	return lambdaTagsOutput{r.Tags}, err
}

// checkLambdaTags says whether tags can be set on a resource that has none.
func checkLambdaTags(set map[string]string) error {
	if key, found := reservedTag(set); found {
		return refuseParameter(reservedTags, cut(key))
	}
	if len(set) > maxLambdaTags {
		return refuseParameter("Number of tags exceeds resource tag limit.")
	}
	return nil
}

type lambdaTagInput struct {
	Tags map[string]string `aws:"required;key.len=1..128;value.len=0..256"`
}

func tagLambda(c *call, in *lambdaTagInput) (any, error) {
	if err := checkLambdaTags(in.Tags); err != nil {
		return nil, err
	}
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
	s, function, err := c.tagged()
	if err != nil {
		return err
	}
	if function != nil {
		_, err := c.changeRecord(function, func(r *functionRecord) (err error) {
			r.Tags, err = retagged(r.Tags, change)
			return err
		})
		return err
	}
	_, err = c.change(context.WithoutCancel(c.r.Context()), s, func(_ triggers.Status, m *triggers.Mapping) (err error) {
		m.Tags, err = retagged(m.Tags, change)
		return err
	})
	return err
}

// retagged is a changed copy of tags. Error: there are too many.
func retagged(old map[string]string, change func(tags map[string]string)) (map[string]string, error) {
	tags := map[string]string{}
	maps.Copy(tags, old)
	change(tags)
	if len(tags) > maxLambdaTags {
		return nil, refuseParameter("Number of tags exceeds resource tag limit.")
	}
	return tags, nil
}
