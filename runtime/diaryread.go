package runtime

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/internal/catalog"
)

// maxPageText bounds what a damaged page is unpacked to.
const maxPageText = 8 << 20

// memory is what notes have of a function.
type memory struct {
	series [2]recalled
	early  bool // an earlier program's notes have something of it
}

// recalled is what notes have of a series.
type recalled struct {
	all    []notedInvocation
	number uint64 // of the page; 0 = there is none
	loose  int
	since  uint64
	last   uint64
}

// memories are what notes have, by function.
type memories map[string]*memory

func (m memories) of(function string) *memory {
	if m[function] == nil {
		m[function] = new(memory)
	}
	return m[function]
}

func seriesIndex(failed bool) int {
	if failed {
		return 1
	}
	return 0
}

// remember takes in what the history has of the functions that are there.
func (d *diary) remember(ctx context.Context) {
	if d == nil {
		return
	}
	known, next, err := readNotes(ctx, d.history)
	if err != nil {
		d.log.Warn("earlier invocations cannot be read", "error", err)
		d.next = uint64(time.Now().UnixMilli()) // above all numbers that were given, so that no page covers what comes
		return
	}
	d.next = next
	functions := d.functions()
	for _, f := range functions {
		if m := known[f.name]; m != nil {
			f.remember(m)
		}
	}
	err = d.moveEarly(ctx, functions, known)
	for name, m := range known {
		if !d.stored(name) { // a host has ended before it was forgotten
			err = errors.Join(err, d.forgetAll(ctx, name, m))
		}
	}
	slices.SortFunc(d.buried, func(a, b burial) int { return cmp.Compare(a.round, b.round) })
	if err != nil {
		d.log.Warn("earlier notes could not be put in order", "error", err)
	}
}

// keyed is a note as it is kept, and what is in it.
type keyed struct {
	note
	key  string
	text []byte
	err  error
}

// readNotes reads what there is, and tells the number of the next round.
func readNotes(ctx context.Context, history History) (known memories, next uint64, err error) {
	var all []keyed
	err = history.Notes(ctx, func(key string, text []byte) { all = append(all, keyed{key: key, text: text}) })
	unpackAll(all)
	known, next = memories{}, 1
	var rounds, early []note
	for _, n := range all {
		if n.err != nil {
			continue // a damaged note is one that is lost
		}
		next = max(next, n.Number)
		name, failed, paged := pageOfKey(n.key)
		switch {
		case paged:
			r := &known.of(name).series[seriesIndex(failed)]
			r.all, r.number = n.Invocations, n.Number
		case n.key == catalog.EarlyKey:
			early = append(early, n.note)
		default:
			next = max(next, n.Number+1)
			rounds = append(rounds, n.note)
		}
	}
	known.addEarly(early)
	slices.SortFunc(rounds, func(a, b note) int { return cmp.Compare(a.Number, b.Number) })
	for _, n := range rounds {
		known.addRound(n)
	}
	return known, next, err
}

// unpackAll reads notes with all processors: those of a thousand functions take half a second of one.
func unpackAll(all []keyed) {
	var group errgroup.Group
	group.SetLimit(goruntime.GOMAXPROCS(0))
	for part := range slices.Chunk(all, 16) {
		group.Go(func() error {
			for n := range part {
				_, _, paged := pageOfKey(part[n].key)
				part[n].note, part[n].err = unpack(part[n].text, paged)
				part[n].text = nil
			}
			return nil
		})
	}
	_ = group.Wait() // each note has its own error
}

// pageOfKey is what a page's key names.
func pageOfKey(key string) (function string, failed, ok bool) {
	if name, found := strings.CutPrefix(key, okPrefix); found {
		return name, false, true
	}
	name, found := strings.CutPrefix(key, failedPrefix)
	return name, true, found
}

func unpack(text []byte, packed bool) (n note, err error) {
	if packed {
		r, err := gzip.NewReader(bytes.NewReader(text))
		if err != nil {
			return n, err
		}
		if text, err = io.ReadAll(io.LimitReader(r, maxPageText)); err != nil {
			return n, err
		}
	}
	err = json.Unmarshal(text, &n)
	return n, err
}

// addRound adds what a round has and no page. Rounds come in their order.
func (m memories) addRound(n note) {
	for _, i := range n.Invocations {
		r := &m.of(i.Function).series[seriesIndex(i.Failed())]
		r.last = n.Number
		if n.Number < r.number {
			continue
		}
		r.all = append(r.all, i)
		r.loose++
		r.since = cmp.Or(r.since, n.Number)
	}
}

// addEarly adds what an earlier program has noted.
func (m memories) addEarly(notes []note) {
	kept := map[string][]notedInvocation{}
	for _, n := range notes {
		delete(kept, n.Deleted)
		for _, i := range n.Invocations {
			kept[i.Function] = append(kept[i.Function], i)
		}
	}
	for name, all := range kept {
		m.of(name).early = true
		for _, i := range all {
			r := &m[name].series[seriesIndex(i.Failed())]
			r.all = append(r.all, i)
		}
	}
}

// remember takes in what notes have of a function.
func (f *function) remember(m *memory) {
	all := slices.Concat(m.series[0].all, m.series[1].all)
	slices.SortStableFunc(all, func(a, b notedInvocation) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	all = slices.CompactFunc(all, func(a, b notedInvocation) bool { // where it is not known whether a note was written, it is written again
		return a.ID == b.ID && a.Started.Equal(b.Started)
	})
	for _, i := range all {
		f.past.add(&i.Invocation)
	}
	f.recall(all)
	for n := range f.past.series {
		s, r := &f.past.series[n], &m.series[n]
		s.noted, s.loose, s.since, s.last, s.paged = s.from.next(), r.loose, r.since, r.last, r.number > 0
	}
	f.past.dirty.Store(false)
}

// moveEarly writes what an earlier program has noted into pages, and removes it there.
func (d *diary) moveEarly(ctx context.Context, functions []*function, known memories) error {
	most := pageBytes(len(functions))
	for _, f := range functions {
		if m := known[f.name]; m == nil || !m.early {
			continue
		}
		for n := range f.past.series {
			if err := d.page(ctx, f, &f.past.series[n], most); err != nil {
				return err
			}
		}
	}
	return d.history.Forget(ctx, catalog.EarlyKey)
}

// forgetAll forgets what notes have of a function that is not there.
func (d *diary) forgetAll(ctx context.Context, name string, m *memory) (err error) {
	for n, r := range m.series {
		s := series{failed: n == 1, last: r.last, paged: r.number > 0}
		if len(r.all) == 0 && s.paged && s.last > 0 { // buried already
			d.buried = append(d.buried, burial{name, s.failed, r.number})
			continue
		}
		err = errors.Join(err, d.forget(ctx, name, &s))
	}
	return err
}
