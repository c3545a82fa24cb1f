package triggers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
)

// outlet is the streams that functions emit to, with their markers, as the runtime and the host put there. It is Markers. Its host can
// crash: from the n-th write on nothing is written any more, here and, by checkSave, in the mapping's own stream.
type outlet struct {
	mu      sync.Mutex
	streams map[string]*emittedStream
	writes  int // left before the crash, when crashes is set
	crashes bool
}

type emittedStream struct {
	texts   []string
	markers map[string]shards.Marker
}

var errCrash = errors.New("the host is going down")

// write counts one write. The lock must be held.
func (o *outlet) write() error {
	if !o.crashes {
		return nil
	}
	if o.writes--; o.writes < 0 {
		return errCrash
	}
	return nil
}

// crash has the host crash after n more writes.
func (o *outlet) crash(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.crashes, o.writes = true, n
}

func (o *outlet) restart() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.crashes = false
}

func (o *outlet) checkSave(shards.Checkpoint) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.write()
}

func (o *outlet) stream(name string) *emittedStream {
	if o.streams == nil {
		o.streams = map[string]*emittedStream{}
	}
	if o.streams[name] == nil {
		o.streams[name] = &emittedStream{markers: map[string]shards.Marker{}}
	}
	return o.streams[name]
}

// emission is what a call emits to one stream.
type emission struct {
	stream string
	texts  []string
}

// emit is the end of a call, as the runtime has it.
func (o *outlet) emit(ctx context.Context, c *runtime.Call, reply *runtime.Reply, list ...emission) error {
	list = slices.DeleteFunc(list, func(e emission) bool { return len(e.texts) == 0 })
	if len(list) == 0 {
		return nil
	}
	var mark runtime.Mark
	if c.Once != nil {
		var put bool
		var err error
		if mark, put, err = c.Once.Claim(ctx, reply); err != nil {
			return fmt.Errorf("%w: %w", runtime.ErrEmit, err)
		} else if !put {
			return nil
		}
	}
	for _, e := range list {
		if err := o.put(e, c.Once != nil, mark); err != nil {
			return fmt.Errorf("%w: %w", runtime.ErrEmit, err)
		}
	}
	return nil
}

func (o *outlet) put(e emission, once bool, mark runtime.Mark) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	st := o.stream(e.stream)
	if have, ok := st.markers[mark.Producer]; once && ok && have.Ordinal >= mark.Ordinal {
		if have.Ordinal == mark.Ordinal && bytes.Equal(have.Note, mark.Note) {
			return nil
		}
		return shards.ErrMarker
	}
	if err := o.write(); err != nil {
		return err
	}
	st.texts = append(st.texts, e.texts...)
	if once {
		st.markers[mark.Producer] = shards.Marker(mark)
	}
	return nil
}

// emitted is how often each text was put into a stream.
func (o *outlet) emitted(stream string) map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	count := map[string]int{}
	for _, text := range o.stream(stream).texts {
		count[text]++
	}
	return count
}

func (o *outlet) Marker(producer string) (newest shards.Marker, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, st := range o.streams {
		if m, there := st.markers[producer]; there && (!ok || cmp.Compare(m.Ordinal, newest.Ordinal) > 0) {
			newest, ok = m, true
		}
	}
	return newest, ok
}

func (o *outlet) Producers(prefix string) map[string]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	names := map[string]bool{}
	for _, st := range o.streams {
		for name := range st.markers {
			if strings.HasPrefix(name, prefix) {
				names[name] = true
			}
		}
	}
	return names
}

func (o *outlet) DeleteMarkers(_ context.Context, prefix string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, st := range o.streams {
		maps.DeleteFunc(st.markers, func(name string, _ shards.Marker) bool { return strings.HasPrefix(name, prefix) })
	}
	return nil
}
