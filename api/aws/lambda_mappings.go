package aws

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

type createMappingInput struct {
	EventSourceArn            string  `aws:"len=12..10000"`
	FunctionName              string  `aws:"required;len=1..256"`
	StartingPosition          *string `aws:"enum=LATEST,AT_TIMESTAMP,TRIM_HORIZON"`
	StartingPositionTimestamp instant
	Tags                      map[string]string `aws:"key.len=1..128;value.len=0..256"`
	mappingSettings
}

// createMapping makes an event source mapping. It answers the state Creating, though the mapping runs.
func createMapping(c *call, in *createMappingInput) (any, error) {
	if err := checkLambdaTags(in.Tags); err != nil {
		return nil, err
	}
	m := triggers.Mapping{Aggregated: true} // Lambda does not take aggregates apart
	if err := c.setSource(&m, in.EventSourceArn); err != nil {
		return nil, err
	}
	if err := setStart(&m, in); err != nil {
		return nil, err
	}
	if err := c.setFunction(&m, in.FunctionName); err != nil {
		return nil, err
	}
	m.Tags = in.Tags
	if err := c.apply(&m, &in.mappingSettings); err != nil {
		return nil, err
	}
	c.lambda.changing.Lock()
	defer c.lambda.changing.Unlock()
	if err := c.setName(&m); err != nil {
		return nil, err
	}
	s, _, err := c.lambda.mappings.Put(c.r.Context(), m)
	if err != nil {
		return nil, mappingFault(err)
	}
	out := c.mappingOutput(s)
	out.State, out.LastProcessingResult = "Creating", noneProcessed
	return out, nil
}

// setSource finds the stream that an ARN names.
func (c *call) setSource(m *triggers.Mapping, arn string) error {
	if !strings.HasPrefix(arn, "arn:") || len(strings.SplitN(arn, ":", 6)) < 6 || strings.SplitN(arn, ":", 6)[2] != "kinesis" {
		return refuseParameter("Unrecognized event source.")
	}
	notFound := refuseParameter("Stream not found: %s", arn)
	source, err := c.parseARN(arn)
	if err != nil {
		return notFound
	}
	d, err := c.streams.Describe(c.r.Context(), source.stream)
	if errors.Is(err, shards.ErrNotFound) {
		return notFound
	}
	if err != nil {
		return err
	}
	m.Stream = d.Name
	if source.consumer == "" {
		return nil
	}
	consumer, err := c.consumer(d, source)
	if err != nil {
		return refuseParameter("Consumer not found: %s", arn)
	}
	m.Consumer = consumer.Name
	return nil
}

// sourceARN is that of the stream, or of its registered consumer, that a mapping reads. That of one that is registered no more ends with 0.
func (c *call) sourceARN(m *triggers.Mapping) string {
	if m.Consumer == "" {
		return c.streamARN(m.Stream)
	}
	registered := time.Unix(0, 0)
	if d, err := c.streams.Describe(c.r.Context(), m.Stream); err == nil {
		if i := slices.IndexFunc(d.Consumers, func(con shards.Consumer) bool { return con.Name == m.Consumer }); i >= 0 {
			registered = d.Consumers[i].Created
		}
	}
	return c.consumerARN(m.Stream, m.Consumer, registered)
}

// setStart reads the starting position.
func setStart(m *triggers.Mapping, in *createMappingInput) error {
	if in.StartingPosition == nil {
		return refuseParameter("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.")
	}
	m.StartingPosition = positions[*in.StartingPosition]
	if m.StartingPosition != triggers.AtTime {
		if in.StartingPositionTimestamp != 0 {
			return refuseParameter("StartingPositionTimestamp is only valid with the StartingPosition AT_TIMESTAMP.")
		}
		return nil
	}
	if in.StartingPositionTimestamp == 0 {
		return refuseParameter("StartingPositionTimestamp is required with the StartingPosition AT_TIMESTAMP.")
	}
	m.StartingTime = in.StartingPositionTimestamp.time()
	return nil
}

var positions = map[string]triggers.Position{"LATEST": triggers.Newest, "AT_TIMESTAMP": triggers.AtTime, "TRIM_HORIZON": triggers.Oldest}

// setFunction finds the function that a request names.
func (c *call) setFunction(m *triggers.Mapping, name string) error {
	ref, err := c.parseFunction(name)
	if err != nil {
		return err
	}
	if _, err := c.function(ref); err != nil {
		return refuseParameter("Function does not exist")
	}
	m.Function, m.Qualifier = ref.name, ref.qualifier
	return nil
}

// maxMappingName is the longest name of a mapping.
const maxMappingName = 128

// onlyOne refuses a mapping whose source and function another one has. The caller holds c.lambda.changing.
func (c *call) onlyOne(m *triggers.Mapping) error {
	for _, s := range c.lambda.mappings.List() {
		if s.Name != m.Name && s.Stream == m.Stream && s.Consumer == m.Consumer && s.Function == m.Function && s.Qualifier == m.Qualifier {
			return conflict(`The event source arn (" %s ") and function (" %s ") provided mapping already exists. Please update or delete the existing mapping with UUID %s`,
				c.sourceARN(m), m.Function, s.ID)
		}
	}
	return nil
}

// setName gives a new mapping a name that people can read, FUNCTION-STREAM, unless there is one for the same source and function. The
// caller holds c.lambda.changing.
func (c *call) setName(m *triggers.Mapping) error {
	if err := c.onlyOne(m); err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, s := range c.lambda.mappings.List() {
		taken[s.Name] = true
	}
	base := m.Function + "-" + m.Stream
	for n, suffix := 1, ""; ; n, suffix = n+1, "-"+strconv.Itoa(n+1) {
		m.Name = base[:min(len(base), maxMappingName-len(suffix))] + suffix
		if !taken[m.Name] {
			return nil
		}
	}
}

// mappingFault is what a refusal of the mappings is answered with.
func mappingFault(err error) error {
	var refused *triggers.FieldError
	if errors.As(err, &refused) {
		switch field, _, _ := strings.Cut(refused.Field, "["); field {
		case "filters":
			return refuseParameter("Invalid filter pattern definition.")
		case "startingTime":
			return refuseParameter("StartingPositionTimestamp must not be in the future.")
		}
	}
	return err
}

// errNoMapping is Lambda's answer about a mapping that is not there.
var errNoMapping = missing("The resource you requested does not exist.")

// mapping is the one with an ID. The names that were seen with IDs save looking at all mappings: another one may have taken a name since, and so
// what is found is looked at.
func (c *call) mapping(id string) (triggers.Status, error) {
	l := c.lambda
	l.mu.Lock()
	name := l.names[id]
	l.mu.Unlock()
	if s, err := l.mappings.Get(name); name != "" && err == nil && s.ID == id {
		return s, nil
	}
	list := l.mappings.List()
	i := slices.IndexFunc(list, func(s triggers.Status) bool { return s.ID == id && id != "" })
	l.mu.Lock()
	defer l.mu.Unlock()
	if i < 0 {
		delete(l.names, id)
		return triggers.Status{}, errNoMapping
	}
	l.names[id] = list[i].Name
	return list[i], nil
}

func getMapping(c *call) (any, error) {
	s, err := c.mapping(c.params["UUID"])
	if err != nil {
		return nil, err
	}
	return c.mappingOutput(s), nil
}

// changeable is a mapping that is not being deleted.
func (c *call) changeable() (triggers.Status, error) {
	s, err := c.mapping(c.params["UUID"])
	if err == nil && s.State == triggers.Deleting {
		return s, &fault{code: codeInUse, status: 400, message: "Cannot change the event source mapping because it is in use."}
	}
	return s, err
}

// change changes a mapping that was found, as Mappings.Update does; another one that has taken its name since is none.
func (c *call) change(ctx context.Context, found triggers.Status, change func(was triggers.Status, m *triggers.Mapping) error) (triggers.Status, error) {
	s, err := c.lambda.mappings.Update(ctx, found.Name, func(was triggers.Status, m *triggers.Mapping) error {
		if was.ID != found.ID {
			return errNoMapping
		}
		return change(was, m)
	})
	if errors.Is(err, triggers.ErrNotFound) {
		err = errNoMapping
	}
	return s, err
}

type updateMappingInput struct {
	FunctionName string `aws:"len=1..256"`
	mappingSettings
}

// updateMapping changes a mapping. As on AWS the answer has the old values, and the state says where it goes.
func updateMapping(c *call, in *updateMappingInput) (any, error) {
	found, err := c.changeable()
	if err != nil {
		return nil, err
	}
	if in.FunctionName != "" {
		c.lambda.changing.Lock()
		defer c.lambda.changing.Unlock()
	}
	var out mappingOutput
	s, err := c.change(c.r.Context(), found, func(was triggers.Status, m *triggers.Mapping) error {
		out = c.mappingOutput(was)
		if in.FunctionName != "" {
			if err := c.setFunction(m, in.FunctionName); err != nil {
				return err
			}
			if err := c.onlyOne(m); m.Function+":"+m.Qualifier != was.Function+":"+was.Qualifier && err != nil {
				return err
			}
		}
		return c.apply(m, &in.mappingSettings)
	})
	if err != nil {
		return nil, mappingFault(err)
	}
	out.LastModified = instantOf(s.Modified)
	switch {
	case in.Enabled == nil || *in.Enabled == (out.State != "Disabled"):
		out.State = "Updating"
	case *in.Enabled:
		out.State = "Enabling"
	default:
		out.State = "Disabling"
	}
	return out, nil
}

// deleteMapping answers when the mapping is gone; what it had under way has had the drain time.
func deleteMapping(c *call) (any, error) {
	s, err := c.changeable()
	if err != nil {
		return nil, err
	}
	// A client that goes away does not leave it half deleted.
	if err := c.lambda.mappings.Delete(context.WithoutCancel(c.r.Context()), s.Name); err != nil {
		if errors.Is(err, triggers.ErrNotFound) {
			return nil, errNoMapping
		}
		return nil, err
	}
	out := c.mappingOutput(s)
	out.State = "Deleting"
	return out, nil
}

type listMappingsOutput struct {
	NextMarker          string `json:",omitzero"`
	EventSourceMappings []mappingOutput
}

// markerForm is that of a mapping's ID, which need not be there any more.
var markerForm = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// maxListedMappings is the most that one answer lists.
const maxListedMappings = 100

// listMappings lists mappings in the order of their IDs, so that a marker, which is the last ID of a page, stays good.
func listMappings(c *call) (any, error) {
	query := c.r.URL.Query()
	limit, err := pageSize(query, maxListedMappings, 10_000)
	if err != nil {
		return nil, err
	}
	if marker := query.Get("Marker"); marker != "" && !markerForm.MatchString(marker) {
		return nil, refuseParameter("Marker is %q; it must be the NextMarker of an answer.", cut(marker))
	}
	function := functionRef{}
	if name := query.Get("FunctionName"); name != "" {
		if function, err = c.parseFunction(name); err != nil {
			return nil, err
		}
	}
	list := slices.DeleteFunc(c.lambda.mappings.List(), func(s triggers.Status) bool {
		source := query.Get("EventSourceArn")
		return s.ID <= query.Get("Marker") || source != "" && source != c.sourceARN(&s.Mapping) ||
			function.name != "" && function.name != s.Function || function.qualifier != "" && function.qualifier != s.Qualifier
	})
	slices.SortFunc(list, func(a, b triggers.Status) int { return strings.Compare(a.ID, b.ID) })
	out := listMappingsOutput{EventSourceMappings: []mappingOutput{}}
	if len(list) > limit {
		list = list[:limit]
		out.NextMarker = list[limit-1].ID
	}
	for _, s := range list {
		out.EventSourceMappings = append(out.EventSourceMappings, c.mappingOutput(s))
	}
	return out, nil
}

// pageSize reads MaxItems: from 1 to most, of which one answer has at most page.
func pageSize(query url.Values, page, most int) (int, error) {
	text := query.Get("MaxItems")
	if text == "" {
		return page, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, mistyped("MaxItems is %q and not a number", cut(text))
	}
	var v violations
	switch {
	case n < 1:
		v.add(fmt.Sprintf("'%d'", n), "maxItems", "Member must have value greater than or equal to 1")
	case n > most:
		v.add(fmt.Sprintf("'%d'", n), "maxItems", fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
	return min(n, page), v.err()
}
