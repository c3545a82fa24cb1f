package runtime

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// HistoryBytes is how much Options.History should hold: the rounds, and the pages of some 1,700 functions, were they all as long as they may be. A page of a
// hundred calls that went well has some 6 KB.
const HistoryBytes = 256 << 20

const (
	// noteInterval is how often what was not noted yet is written; it is what a crash loses. Where it takes long, it is done more seldom: it may
	// take a fifth of a processor.
	noteInterval = time.Second
	noteRest     = 4

	rounds         = 256       // that are kept
	maxRoundBytes  = 128 << 10 // of one, beside its last invocation
	maxRoundsOnce  = rounds / 4
	pageAge        = rounds / 2     // rounds after which what is in them is due for a page
	latestPageAge  = rounds * 5 / 8 // and for the latest, where many are due at once
	pagesOnce      = 64             // that are written at once of what is only old
	maxPageBytes   = 64 << 10       // of one, compressed
	leastPageBytes = 4 << 10        // where there are many functions
)

// History keeps the newest note under each of many keys over restarts. What it loses is only missed by who looks back. Put and Forget are durable when they
// return; Notes hands over what there is, in no order, and the notes are the receiver's. *catalog.History is one.
type History interface {
	Put(ctx context.Context, key string, note []byte) error
	Forget(ctx context.Context, key string) error
	Notes(ctx context.Context, take func(key string, note []byte)) error
}

// diary notes what becomes of invocations, so that the latest of each function outlive a restart, however busy the others are.
//
// Each second it writes what is new of all functions into one note, a round, which costs one sync. There are 256 places for rounds, which are used in
// turn. Before a function's invocations would go with their round, or when a hundred have come since, all that are kept of it are written into a note of
// its own, its page, which only its next page replaces. It has two: for the calls that went well, and for those that failed. A page says which rounds it makes needless, by
// their number, and so does the empty page of a function that was deleted. So all of a function's latest invocations are in its pages and in the rounds after them.
//
// A round is JSON, so is a page, compressed with gzip. Notes of earlier programs have no number.
type diary struct {
	history   History
	functions func() []*function
	stored    func(name string) bool // whether there is a function, though it may not be served
	log       *slog.Logger

	turn   chan struct{} // held by the one that writes, and for what follows
	next   uint64        // number of the next round
	buried []burial      // the oldest first
	left   []*function   // that were deleted, and could not be buried
}

// burial is the empty page of a function that was deleted. It can go when the rounds have that have the function's invocations.
type burial struct {
	function string
	failed   bool
	round    uint64
}

// note is what a round or a page is: invocations with their lines. A page of that number has what was in the rounds before.
type note struct {
	Number      uint64            `json:"n,omitempty"`
	Invocations []notedInvocation `json:"invocations,omitempty"`
	Deleted     string            `json:"deleted,omitempty"` // in notes of earlier programs, a function that was deleted with all it had
}

// series are those of a function's invocations that went well, or those that failed, as far as they are noted.
type series struct {
	from   *invocationRing
	failed bool

	noted uint64 // in from, the first that is not
	loose int    // that are noted in rounds only
	since uint64 // the first of those rounds; 0 = none
	last  uint64 // the last round that has any
	paged bool   // it has a page
}

func newDiary(rt *Runtime) *diary {
	if rt.options.History == nil {
		return nil
	}
	return &diary{
		history: rt.options.History, functions: rt.all, stored: rt.defined, log: rt.options.Logger, turn: make(chan struct{}, 1), next: 1,
	}
}

const (
	roundPrefix  = "round."
	okPrefix     = "ok."
	failedPrefix = "failed."
)

func roundKey(number uint64) string { return fmt.Sprint(roundPrefix, number%rounds) }

func pageKey(function string, failed bool) string {
	if failed {
		return failedPrefix + function
	}
	return okPrefix + function
}

// keep writes now and then, and at the end.
func (d *diary) keep(ctx context.Context) {
	wait := time.NewTimer(noteInterval)
	defer wait.Stop()
	failing := false
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-wait.C:
		}
		begun := time.Now()
		err := d.write(context.WithoutCancel(ctx))
		if err != nil && !failing {
			d.log.Warn("invocations cannot be noted; a restart will not know of them", "error", err)
		}
		failing = err != nil
		wait.Reset(max(noteInterval, noteRest*time.Since(begun)))
	}
}

// write writes what is not noted yet, of all functions. What could not be written is tried again with the next.
func (d *diary) write(ctx context.Context) error {
	var errs []error
	var fresh []entries
	old := pagesOnce
	functions := d.functions()
	most := pageBytes(len(functions))
	for _, f := range functions {
		of, err := d.look(ctx, f, most, &old)
		if err != nil {
			errs = append(errs, err)
			f.past.dirty.Store(true)
		}
		fresh = append(fresh, of...)
	}
	errs = append(errs, d.writeRounds(ctx, fresh, most), d.dig(ctx, functions))
	return errors.Join(errs...)
}

// pageBytes bounds a page, so that those of all functions have room beside the rounds.
func pageBytes(functions int) int {
	room := HistoryBytes - rounds*maxRoundBytes
	return min(max(room/2/max(functions, 1), leastPageBytes), maxPageBytes)
}

// entries are invocations of a series that are not noted.
type entries struct {
	*function
	*series
	fresh []Invocation
	after uint64 // what series.noted is when they are
}

// look writes those pages of a function that are due, and returns what is for the round. old is how many more may be written of what is only old.
func (d *diary) look(ctx context.Context, f *function, most int, old *int) (fresh []entries, err error) {
	if err := d.take(ctx); err != nil {
		return nil, err
	}
	defer d.give()
	if f.past.gone.Load() {
		return nil, nil
	}
	dirty := f.past.dirty.Swap(false)
	for n := range f.past.series {
		e := entries{function: f, series: &f.past.series[n]}
		if dirty {
			e.fresh, e.after = e.unnoted()
		}
		switch {
		case e.due(len(e.fresh), d.next, old):
			err = errors.Join(err, d.page(ctx, f, e.series, most))
		case len(e.fresh) > 0:
			fresh = append(fresh, e)
		}
	}
	return fresh, err
}

// due is whether a series, of which so many more have come, is to have a page, when the next round has that number.
func (s *series) due(fresh int, next uint64, old *int) bool {
	switch {
	case s.loose+fresh >= KeptInvocations:
		return true
	case s.since == 0 || next-s.since < pageAge:
		return false
	}
	*old--
	return *old >= 0 || next-s.since >= latestPageAge
}

// unnoted are the invocations that came since they were last noted, as far as they are kept.
func (s *series) unnoted() (fresh []Invocation, after uint64) { return s.read(s.noted) }

func (s *series) read(from uint64) (out []Invocation, after uint64) {
	values, number, _ := s.from.read(from, make([]Invocation, 0, KeptInvocations))
	after = number + uint64(len(values))
	return slices.DeleteFunc(values, func(i Invocation) bool { return i.Failed() != s.failed }), after
}

// page writes all that is kept of a series into its page. The turn is held.
func (d *diary) page(ctx context.Context, f *function, s *series, most int) error {
	all, after := s.read(0)
	text, err := f.pageOf(all, d.next, most)
	if err != nil {
		return err
	}
	if err := d.history.Put(ctx, pageKey(f.name, s.failed), text); err != nil {
		return err
	}
	s.noted, s.loose, s.since, s.paged = after, 0, 0, true
	return nil
}

// detail is how much of each invocation a page has.
type detail struct {
	lines int // bytes of all of their lines
	stack int // bytes
	text  int // bytes of message and type
	most  int // invocations
}

// details are tried one after the other until a page is short enough.
var details = []detail{
	{128 << 10, maxNotedStack, maxNotedText, KeptInvocations},
	{16 << 10, 1 << 10, 256, KeptInvocations},
	{0, 128, 128, KeptInvocations},
	{0, 0, 64, KeptInvocations / 4},
	{0, 0, 64, 1},
}

// pageOf is the page of that number with invocations, of at most so many bytes if that can be.
func (f *function) pageOf(all []Invocation, number uint64, most int) (text []byte, err error) {
	for _, d := range details {
		n := note{Number: number, Invocations: f.withLines(all[max(len(all)-d.most, 0):], d.lines)}
		for i := range n.Invocations {
			v := &n.Invocations[i].Invocation
			v.Message, v.Type, v.Stack = cutText(v.Message, d.text), cutText(v.Type, d.text), cutText(v.Stack, d.stack)
		}
		if text, err = pack(n); err != nil || len(text) <= most {
			break
		}
	}
	return text, err
}

// packers are *gzip.Writers, of which each holds most of a megabyte.
var packers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is
	return w
}}

func pack(n note) ([]byte, error) {
	var out bytes.Buffer
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(&out)
	err := errors.Join(json.NewEncoder(w).Encode(n), w.Close())
	return out.Bytes(), err
}

// writeRounds notes invocations in rounds.
func (d *diary) writeRounds(ctx context.Context, all []entries, most int) (err error) {
	if len(all) == 0 {
		return nil
	}
	if err := d.take(ctx); err != nil {
		return err
	}
	defer d.give()
	defer func() {
		for _, e := range all {
			if e.noted < e.after {
				e.past.dirty.Store(true)
			}
		}
	}()
	all = slices.DeleteFunc(all, func(e entries) bool { return e.past.gone.Load() })
	bodies, firsts, err := roundsOf(all)
	if err != nil {
		return err
	}
	if len(bodies) > maxRoundsOnce { // they would push out what has no page yet
		for _, e := range all {
			err = errors.Join(err, d.page(ctx, e.function, e.series, most))
		}
		return err
	}
	began := d.next
	for _, body := range bodies {
		text := append(fmt.Appendf(nil, `{"n":%d,"invocations":[`, d.next), body...)
		if err := d.history.Put(ctx, roundKey(d.next), append(text, "]}"...)); err != nil {
			return err
		}
		d.next++
	}
	for n, e := range all {
		e.noted = e.after
		e.loose += len(e.fresh)
		e.since = cmp.Or(e.since, began+uint64(firsts[n]))
		e.last = d.next - 1
	}
	return nil
}

// roundsOf are the invocations, with their lines, of as many rounds as they need, and in which those of each of the entries begin.
func roundsOf(all []entries) (bodies [][]byte, firsts []int, err error) {
	var body []byte
	for _, e := range all {
		firsts = append(firsts, len(bodies))
		for _, i := range e.withLines(e.fresh, max(minNotedLines, maxNotedLines/len(all))) {
			one, err := json.Marshal(&i)
			if err != nil {
				return nil, nil, err
			}
			if len(body) > 0 {
				if len(body)+len(one) > maxRoundBytes {
					bodies, body = append(bodies, body), nil
				} else {
					body = append(body, ',')
				}
			}
			body = append(body, one...)
		}
	}
	if len(body) > 0 {
		bodies = append(bodies, body)
	}
	return bodies, firsts, nil
}

// bury has what is noted of a function that was deleted forgotten, also when ctx ends: the function is gone. A new one of its name has none of it.
func (d *diary) bury(ctx context.Context, f *function) {
	if d == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := d.take(ctx)
	if err == nil {
		defer d.give()
		if err = d.forgetPast(ctx, f); err != nil {
			d.left = append(d.left, f)
		}
	}
	if err != nil {
		d.log.Warn("the invocations of a deleted function are not forgotten yet", "function", f.name, "error", err)
	}
}

func (d *diary) forgetPast(ctx context.Context, f *function) (err error) {
	for n := range f.past.series {
		err = errors.Join(err, d.forget(ctx, f.name, &f.past.series[n]))
	}
	return err
}

// buryLeft tries again to bury functions. Where there is a new one of a name, its pages do that. The turn is held.
func (d *diary) buryLeft(ctx context.Context, functions []*function) error {
	for ; len(d.left) > 0; d.left = d.left[1:] {
		f := d.left[0]
		i := slices.IndexFunc(functions, func(other *function) bool { return other.name == f.name })
		if i < 0 {
			if err := d.forgetPast(ctx, f); err != nil {
				return err
			}
			continue
		}
		for n := range functions[i].past.series {
			if s := &functions[i].past.series[n]; !s.paged {
				if err := d.page(ctx, functions[i], s, pageBytes(len(functions))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// forget replaces a series' page with an empty one, or removes it where no round has anything of it, or of a function that had the name before. The turn is held.
func (d *diary) forget(ctx context.Context, name string, s *series) error {
	if (s.last == 0 || s.last+rounds < d.next) && !isBuried(d.buried, name, s.failed) {
		if !s.paged {
			return nil
		}
		return d.history.Forget(ctx, pageKey(name, s.failed))
	}
	text, err := pack(note{Number: d.next})
	if err != nil {
		return err
	}
	if err := d.history.Put(ctx, pageKey(name, s.failed), text); err != nil {
		return err
	}
	d.buried = append(d.buried, burial{name, s.failed, d.next})
	return nil
}

// isBuried is whether there is an empty page of a function.
func isBuried(all []burial, name string, failed bool) bool {
	return slices.ContainsFunc(all, func(b burial) bool { return b.function == name && b.failed == failed })
}

// dig buries what could not be, and removes the empty pages that are not needed any more.
func (d *diary) dig(ctx context.Context, functions []*function) error {
	if err := d.take(ctx); err != nil {
		return err
	}
	defer d.give()
	if err := d.buryLeft(ctx, functions); err != nil {
		return err
	}
	for len(d.buried) > 0 && d.buried[0].round+rounds <= d.next {
		b := d.buried[0]
		again := slices.ContainsFunc(functions, func(f *function) bool {
			return f.name == b.function && f.past.series[seriesIndex(b.failed)].paged
		})
		if !again && !isBuried(d.buried[1:], b.function, b.failed) {
			if err := d.history.Forget(ctx, pageKey(b.function, b.failed)); err != nil {
				return err
			}
		}
		d.buried = d.buried[1:]
	}
	return nil
}

func (d *diary) take(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *diary) give() { <-d.turn }
