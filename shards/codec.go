package shards

import (
	"encoding/json"
	"fmt"
	"time"
)

// definitionFormat is the format that definitions are written in, and the newest that this program reads. Format 1,
// which knew no change of a stream, is read and written anew with the stream's next change.
const definitionFormat = 2

// storedDefinition is a definition in JSON. Times of shards are milliseconds and ranges are written once, so that
// MaxListedShards of them fit into a value of the catalog.
type storedDefinition struct {
	Format    int              `json:"format"`
	Name      string           `json:"name"`
	ID        string           `json:"id"`
	State     definitionState  `json:"state"`
	Created   time.Time        `json:"created"`
	NextShard uint32           `json:"nextShard"`
	Shards    []storedShard    `json:"shards"`
	Consumers []storedConsumer `json:"consumers,omitempty"`
	settings
}

type storedShard struct {
	ID      uint32   `json:"id"`
	Epoch   uint32   `json:"epoch"`
	From    Hash     `json:"from"`
	To      Hash     `json:"to"`
	Parents []uint32 `json:"parents,omitempty"`
	Created int64    `json:"created"`          // milliseconds since the Unix epoch
	Closed  int64    `json:"closed,omitempty"` // the same; 0 while it is open
	Last    uint64   `json:"last,omitempty"`   // of a closed one
}

type storedConsumer struct {
	Name    string            `json:"name"`
	Created int64             `json:"created"` // milliseconds since the Unix epoch
	Tags    map[string]string `json:"tags,omitempty"`
}

// encode makes the JSON of format 2.
func (d *definition) encode() []byte {
	out := storedDefinition{
		Format: definitionFormat, Name: d.Name, ID: d.ID, State: d.State, Created: d.Created,
		NextShard: uint32(d.NextShard), Shards: make([]storedShard, len(d.Shards)), settings: d.settings,
	}
	for i, s := range d.Shards {
		o := storedShard{ID: uint32(s.ID), Epoch: s.Epoch, From: s.StartHash, To: s.EndHash, Created: s.Created.UnixMilli()}
		for _, p := range s.Parents {
			o.Parents = append(o.Parents, uint32(p))
		}
		if s.Closed != nil {
			o.Closed, o.Last = s.Closed.UnixMilli(), s.Last
		}
		out.Shards[i] = o
	}
	for _, c := range d.Consumers {
		out.Consumers = append(out.Consumers, storedConsumer{c.Name, c.Created.UnixMilli(), c.Tags})
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // plain fields, and attributes that have been found to be JSON
	}
	return b
}

// decodeDefinition reads and checks what encode wrote, in any format. On an error the definition holds what could be
// read.
func decodeDefinition(name string, b []byte) (definition, error) {
	var format struct {
		Format int    `json:"format"`
		ID     string `json:"id"`
	}
	d := definition{Name: name}
	if err := json.Unmarshal(b, &format); err != nil {
		return d, fmt.Errorf("definition cannot be read: %w", err)
	}
	d.ID = format.ID
	var err error
	switch {
	case format.Format > definitionFormat:
		return d, fmt.Errorf("definition has format %d, this program reads up to %d", format.Format, definitionFormat)
	case format.Format == definitionFormat:
		err = d.decode2(b)
	default:
		err = d.decode1(b)
	}
	if err != nil {
		return d, fmt.Errorf("definition cannot be read: %w", err)
	}
	return d, d.check(name)
}

func (d *definition) decode2(b []byte) error {
	var in storedDefinition
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*d = definition{
		Name: in.Name, ID: in.ID, State: in.State, Created: in.Created, NextShard: ShardID(in.NextShard), settings: in.settings,
	}
	for _, s := range in.Shards {
		o := shardDefinition{
			ID: ShardID(s.ID), Epoch: s.Epoch, StartHash: s.From, EndHash: s.To, State: ShardOpen, Created: time.UnixMilli(s.Created).UTC(),
		}
		for _, p := range s.Parents {
			o.Parents = append(o.Parents, ShardID(p))
		}
		if s.Closed != 0 {
			closed := time.UnixMilli(s.Closed).UTC()
			o.State, o.Closed, o.Last = ShardClosed, &closed, s.Last
		}
		d.Shards = append(d.Shards, o)
	}
	for _, c := range in.Consumers {
		d.Consumers = append(d.Consumers, Consumer{c.Name, time.UnixMilli(c.Created).UTC(), c.Tags})
	}
	return nil
}

// decode1 reads format 1, of which only streams with the shards of their creation were written.
func (d *definition) decode1(b []byte) error {
	var in struct {
		Name            string          `json:"name"`
		ID              string          `json:"id"`
		State           definitionState `json:"state"`
		Created         time.Time       `json:"created"`
		RetentionMillis int64           `json:"retentionMillis"`
		MaxRecordBytes  int             `json:"maxRecordBytes"`
		Shards          []struct {
			ID        ShardID    `json:"id"`
			Epoch     uint32     `json:"epoch"`
			StartHash Hash       `json:"startHash"`
			EndHash   Hash       `json:"endHash"`
			State     ShardState `json:"state"`
			Created   time.Time  `json:"created"`
		} `json:"shards"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*d = definition{
		Name: in.Name, ID: in.ID, State: in.State, Created: in.Created,
		settings: settings{RetentionMillis: in.RetentionMillis, MaxRecordBytes: in.MaxRecordBytes, Mode: Provisioned},
	}
	for _, s := range in.Shards {
		d.Shards = append(d.Shards, shardDefinition{
			ID: s.ID, Epoch: s.Epoch, StartHash: s.StartHash, EndHash: s.EndHash, State: s.State, Created: s.Created,
		})
		d.NextShard = max(d.NextShard, s.ID+1)
	}
	return nil
}
