package destination

import (
	"context"
	"errors"
	"fmt"
)

var errNoStreams = misconfiguredf("there are no streams here")

// smallest is what a stream's records must be able to hold: a document without payload, with names as long as they can be.
const smallest = 4 << 10

func (d *Destinations) checkStream(t *target) error {
	if d.opts.Streams == nil {
		return errNoStreams
	}
	limit, err := d.opts.Streams.MaxRecord(t.name)
	if errors.Is(err, ErrMisconfigured) {
		return invalid(t.shown(), "stream: and the name of a stream that exists")
	}
	if err == nil && limit < smallest {
		err = fmt.Errorf("stream %q takes records of up to %d bytes; a document without payload needs %d", t.name, limit, smallest)
	}
	return err
}

// putRecord puts the document into a stream, whole where its records can be that large, and returns how many bytes it has put.
func (d *Destinations) putRecord(ctx context.Context, stream string, doc *Document) (int, error) {
	if d.opts.Streams == nil {
		return 0, errNoStreams
	}
	limit, err := d.opts.Streams.MaxRecord(stream)
	if err != nil {
		return 0, err
	}
	data := doc.Whole
	if len(data) > limit {
		data = doc.Brief
	}
	return len(data), d.opts.Streams.Put(ctx, stream, doc.Shard, data)
}
