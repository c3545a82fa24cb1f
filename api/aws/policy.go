package aws

import (
	"encoding/json"

	"github.com/shardmill/shardmill/shards"
)

// maxPolicy is the most bytes of a resource policy.
const maxPolicy = 20 << 10

// policyAttribute is where a resource's policy is kept.
func (r resource) policyAttribute() string {
	if r.consumer != nil {
		return attributePolicy + "." + r.consumer.Name
	}
	return attributePolicy
}

type putPolicyInput struct {
	resourceRef
	Policy string `aws:"required"`
}

// putResourcePolicy keeps a policy. It is shown again and decides nothing: there is one account, and nobody's signature is checked.
func putResourcePolicy(c *call, in *putPolicyInput) (any, error) {
	r, err := c.resource(in.resourceRef)
	if err != nil {
		return nil, err
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal([]byte(in.Policy), &document); err != nil || len(in.Policy) > maxPolicy {
		return nil, invalidArgument("Policy must be a JSON object of at most %d bytes.", maxPolicy)
	}
	return c.update(r.stream.Name, shards.Change{Attributes: attributeOf(r.policyAttribute(), in.Policy)})
}

type policyOutput struct{ Policy string }

func getResourcePolicy(c *call, in *resourceRef) (any, error) {
	r, err := c.resource(*in)
	if err != nil {
		return nil, err
	}
	policy := "{}"
	attribute(r.stream, r.policyAttribute(), &policy)
	return policyOutput{policy}, nil
}

func deleteResourcePolicy(c *call, in *resourceRef) (any, error) {
	r, err := c.resource(*in)
	if err != nil {
		return nil, err
	}
	name := r.policyAttribute()
	if r.stream.Attributes[name] == nil {
		return nil, faultf(codeNotFound, "No policy found for resource %s.", in.ResourceARN)
	}
	return c.update(r.stream.Name, shards.Change{Attributes: attributeOf(name, nil)})
}
