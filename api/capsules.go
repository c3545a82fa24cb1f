package api

import (
	"errors"
	"strconv"
	"time"

	"github.com/shardmill/shardmill/internal/capsule"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// Capsules are the invocations that are kept; *capsule.Store is one. Its methods may be called at the same time.
type Capsules interface {
	List(mapping string) []capsule.Summary
	Get(id string) ([]byte, error)
	Delete(id string) error
}

// setting is what a mapping has for c, which may be nil.
func (c *CapsuleConfig) setting() triggers.Capsules {
	if c == nil {
		return triggers.Capsules{}
	}
	return triggers.Capsules{Failed: c.Failed, Slow: time.Duration(c.Slow), Sample: c.Sample}
}

func capsuleConfigOf(s triggers.Capsules) *CapsuleConfig {
	if s == (triggers.Capsules{}) {
		return nil
	}
	return &CapsuleConfig{Failed: s.Failed, Slow: Duration(s.Slow), Sample: s.Sample}
}

// capsuleQuery is the query of a list of capsules.
type capsuleQuery struct {
	Mapping string `query:"mapping" doc:"Only those of this mapping."`
}

// listCapsules is GET /v1/capsules.
func (c *call) listCapsules(q *capsuleQuery) (*CapsuleList, error) {
	list := &CapsuleList{Capsules: []Capsule{}}
	for _, s := range c.capsules.List(q.Mapping) {
		out := Capsule{
			ID: s.ID, Made: s.Made, Why: s.Why, Function: s.Function, Version: s.Version, Digest: s.Digest, Mapping: s.Mapping,
			Stream: s.Stream, First: Sequence(s.First), Last: Sequence(s.Last), Records: s.Records,
			Outcome: s.Outcome, Message: s.Message, Reproduced: s.Reproduced, Size: Size(s.Bytes),
		}
		if s.Stream != "" {
			out.Shard = shards.ShardID(s.Shard).String()
		}
		list.Capsules = append(list.Capsules, out)
	}
	return list, nil
}

// readCapsule is GET /v1/capsules/{capsule}.
func (c *call) readCapsule(*none) error {
	file, err := c.capsules.Get(c.r.PathValue("capsule"))
	if err != nil {
		return c.noCapsule(err)
	}
	c.w.Header().Set("Content-Type", typeCapsule)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(file)))
	_, err = c.w.Write(file)
	return err
}

// deleteCapsule is DELETE /v1/capsules/{capsule}.
func (c *call) deleteCapsule() error { return c.noCapsule(c.capsules.Delete(c.r.PathValue("capsule"))) }

// noCapsule names the capsule that is not there; other errors stay as they are.
func (c *call) noCapsule(err error) error {
	if !errors.Is(err, capsule.ErrNotFound) {
		return err
	}
	id := c.r.PathValue("capsule")
	p := problem(KindCapsuleNotFound, "").because("There is no capsule "+quote(id)+".", "GET /v1/capsules lists those that are kept.")
	p.Field, p.Value, p.Limit = "capsule", cut(id), "a capsule that is kept"
	return p
}
