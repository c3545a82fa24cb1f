package api

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/shardmill/shardmill/triggers"
)

// listMappings is GET /v1/mappings.
func (c *call) listMappings(*none) (*MappingList, error) {
	list := &MappingList{Mappings: []Mapping{}}
	for _, s := range c.mappings.List() {
		m := mappingOf(&s)
		m.Shards = nil
		list.Mappings = append(list.Mappings, m)
	}
	return list, nil
}

// ifMatch is the header of a client that changes a mapping from what it has read of it.
var ifMatch = header{"If-Match", "What modified has to be, in quotation marks: if the mapping was changed since it was read, or is not there, nothing is changed, and the answer is conflict."}

// putMapping is PUT /v1/mappings/{name}.
func (c *call) putMapping(in *MappingConfig) (*Mapping, bool, error) {
	wanted := in.mapping(c.name())
	var s triggers.Status
	var created bool
	var err error
	switch tag := c.r.Header.Get(ifMatch.name); {
	case tag != "":
		s, err = c.putChanged(wanted, in.Disabled == nil, tag)
	case in.Disabled == nil: // what somebody has paused is for them to resume
		s, created, err = c.mappings.Ensure(c.context(), wanted)
	default:
		s, created, err = c.mappings.Put(c.context(), wanted)
	}
	if err != nil {
		return nil, false, err
	}
	m := mappingOf(&s)
	return &m, created, nil
}

// putChanged makes a mapping what is wanted, if it is still the one that was read; keep leaves it paused or at work.
func (c *call) putChanged(wanted triggers.Mapping, keep bool, tag string) (triggers.Status, error) {
	text, err := strconv.Unquote(tag)
	if err != nil {
		text = tag
	}
	modified, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return triggers.Status{}, invalidField("If-Match", tag, `the modified time of the mapping in quotation marks, such as "2026-11-21T03:45:00.123456789Z"`)
	}
	s, err := c.mappings.Update(c.context(), wanted.Name, func(was triggers.Status, m *triggers.Mapping) error {
		if !was.Modified.Equal(modified) {
			return triggers.ErrChanged
		}
		if keep {
			wanted.Disabled = m.Disabled
		}
		*m = wanted
		return nil
	})
	if errors.Is(err, triggers.ErrNotFound) {
		err = fmt.Errorf("%w: it is gone", triggers.ErrChanged)
	}
	return s, err
}

// mapping is what the settings ask for.
func (in *MappingConfig) mapping(name string) triggers.Mapping {
	return triggers.Mapping{
		Name: name, Stream: in.Stream, Function: in.Function,
		BatchSize: in.BatchSize, BatchWindow: time.Duration(in.BatchWindow),
		StartingPosition: triggers.Position(in.StartingPosition), StartingTime: in.StartingTime,
		MaxAttempts: in.MaxAttempts, MaxRecordAge: time.Duration(in.MaxRecordAge),
		Aggregated: in.Deaggregate != nil && !*in.Deaggregate,
		Filters:    in.Filters, Parallelization: in.Parallelization, TumblingWindow: time.Duration(in.TumblingWindow),
		ReportItemFailures: in.ReportItemFailures, Bisect: in.Bisect, Isolate: in.Isolate, ExactlyOnce: in.ExactlyOnce, OnFailure: in.OnFailure,
		FailureTrace: in.FailureTrace == nil || *in.FailureTrace,
		Qualifier:    in.Qualifier, Consumer: in.Consumer, Disabled: in.Disabled != nil && *in.Disabled, EventCounts: in.EventCounts, Tags: in.Tags,
		Capsules: in.Capsules.setting(),
	}
}

// getMapping is GET /v1/mappings/{name}.
func (c *call) getMapping(*none) (*Mapping, error) {
	s, err := c.mappings.Get(c.name())
	if err != nil {
		return nil, err
	}
	m := mappingOf(&s)
	return &m, nil
}

// seekMapping is POST /v1/mappings/{name}/seek.
func (c *call) seekMapping(in *SeekMapping) (*Mapping, error) {
	to := triggers.Target{Position: triggers.Position(in.Position), Time: in.Time, Shard: in.Shard}
	if in.Sequence != "" {
		if err := c.seekTo(&to, in.Sequence); err != nil {
			return nil, err
		}
	}
	s, err := c.mappings.Seek(c.context(), c.name(), to)
	if err != nil {
		return nil, err
	}
	m := mappingOf(&s)
	return &m, nil
}

// deleteMapping is DELETE /v1/mappings/{name}.
func (c *call) deleteMapping() error { return c.mappings.Delete(c.context(), c.name()) }

// mappingOf is a mapping as it goes over the wire.
func mappingOf(s *triggers.Status) Mapping {
	m := Mapping{
		Name: s.Name, ID: s.ID, Created: s.Created, Modified: s.Modified,
		MappingConfig: MappingConfig{
			Stream: s.Stream, Function: s.Function,
			BatchSize: s.BatchSize, BatchWindow: Duration(s.BatchWindow),
			StartingPosition: string(s.StartingPosition), StartingTime: s.StartingTime,
			MaxAttempts: s.MaxAttempts, MaxRecordAge: Duration(s.MaxRecordAge), Deaggregate: new(!s.Aggregated),
			Filters: s.Filters, Parallelization: s.Parallelization, TumblingWindow: Duration(s.TumblingWindow),
			ReportItemFailures: s.ReportItemFailures, Bisect: s.Bisect, Isolate: s.Isolate, ExactlyOnce: s.ExactlyOnce, OnFailure: s.OnFailure,
			FailureTrace: new(s.FailureTrace),
			Qualifier:    s.Qualifier, Consumer: s.Consumer, Disabled: new(s.Disabled), EventCounts: s.EventCounts, Tags: s.Tags,
			Capsules: capsuleConfigOf(s.Capsules),
		},
		State: string(s.State), Reason: s.Reason, Warning: s.Warning, LastResult: string(s.LastResult()), Counts: countsOf(s.Counts()),
	}
	if m.Shadow = shadowOf(s.Shadow); m.Shadow != nil {
		m.Shadow.Shards = nil
	}
	for i := range s.Shards {
		m.Shards = append(m.Shards, mappingShardOf(&s.Shards[i]))
	}
	return m
}

func mappingShardOf(s *triggers.ShardStatus) MappingShard {
	out := MappingShard{
		Shard: s.Shard.String(), State: string(s.State), Checkpoint: Sequence(s.Checkpoint),
		IteratorAge: Duration(s.IteratorAge.Round(time.Millisecond)), Attempt: s.Attempt,
		LastResult: string(s.LastResult), LastError: s.LastError, LastTime: s.LastTime, Counts: countsOf(s.Counts),
	}
	if g := s.LastGivenUp; g != nil {
		out.LastGivenUp = &GivenUp{
			First: Sequence(g.First), Last: Sequence(g.Last), Records: g.Records, Attempts: g.Attempts,
			Reason: string(g.Reason), Error: g.Error, Time: g.Time,
		}
	}
	return out
}

func countsOf(c triggers.Counts) MappingCounts {
	return MappingCounts{
		Invocations: c.Invocations(), OK: c.OK, Partial: c.Partial, Failed: c.Failed, Throttled: c.Throttled, Refused: c.Refused,
		Delivered: c.Delivered, Settled: c.Settled, Dropped: c.Dropped, Rejected: c.Rejected,
		GivenUp: c.GivenUp, Sent: c.Sent, Skipped: c.Skipped, Retries: c.Retries, Polled: c.Polled, Filtered: c.Filtered,
	}
}
