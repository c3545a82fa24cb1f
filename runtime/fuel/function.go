package fuel

import (
	"errors"
	"fmt"

	"github.com/shardmill/shardmill/runtime/wasm"
)

var errNesting = errors.New("its blocks are not well nested")

// frame is a block that is open.
type frame struct {
	op       byte
	dead     bool  // it stands in code that cannot be reached
	targeted bool  // something branches to its label
	before   int32 // the segment that it stands in
	first    int32 // of a loop: the segment of its head
}

// edit is a change of a body: what is from at to end is replaced.
type edit struct {
	at, end int32
	kind    editKind
	arg     uint32 // segment or function, by kind
}

type editKind byte

const (
	editCharge  editKind = iota // charge for a segment
	editIndex                   // the index of a function
	editCall                    // a call of a function
	editMeasure                 // a call of a function, in front of what is there
	editPiece                   // none: what follows is the piece of that number
)

// walker reads the body of one function after the other and finds out what is to be changed in it.
type walker struct {
	m        *rewriter
	segments []segment
	frames   []frame
	edits    []edit
	calls    []int32 // segments with a call that may lead back here
	outside  []bool  // of checksEntry
	current  int32   // segment
	dead     bool    // control cannot come here
	ended    bool    // the function's own end was read
	pieces   []piece // of the body, where it is not the original's; those behind passed are still to come
	passed   int
}

// walk reads the body of a function, locals included, and the pieces that it is made of; nil where it is the original's.
func (w *walker) walk(body []byte, pieces []piece) error {
	*w = walker{m: w.m, segments: w.segments[:0], frames: w.frames[:0], edits: w.edits[:0], calls: w.calls[:0], outside: w.outside, pieces: pieces}
	r := &wasm.Reader{B: body}
	r.Each(func(r *wasm.Reader) { r.SkipU32(); r.Skip(1) })
	w.frames = append(w.frames, frame{op: wasm.OpBlock})
	w.begin(-1, r.At)
	w.segments[0].root = true
	var i wasm.Instruction
	for r.Err == nil && r.Left() > 0 {
		if w.ended {
			return errNesting
		}
		if r.Instruction(&i); r.Err == nil {
			w.step(r, &i)
		}
	}
	if r.Err == nil && !w.ended {
		r.Fail(errNesting)
	}
	return r.Err
}

// begin starts a segment, which is executed at most as often as parent.
func (w *walker) begin(parent int32, at int) {
	w.current = int32(len(w.segments))
	w.segments = append(w.segments, segment{parent: parent, at: int32(at)})
	w.edit(at, at, editCharge, uint32(w.current))
}

// pass comes to a place: the pieces up to there have begun.
func (w *walker) pass(at int) {
	for ; w.passed < len(w.pieces) && w.pieces[w.passed].now <= at; w.passed++ {
		w.edits = append(w.edits, edit{int32(at), int32(at), editPiece, uint32(w.passed)})
	}
}

// added is whether what is read stands in a piece that was not there.
func (w *walker) added() bool { return w.passed > 0 && w.pieces[w.passed-1].added }

// edit notes a change.
func (w *walker) edit(at, end int, kind editKind, arg uint32) {
	w.pass(at)
	w.edits = append(w.edits, edit{int32(at), int32(end), kind, arg})
}

func (w *walker) step(r *wasm.Reader, i *wasm.Instruction) {
	w.pass(i.At)
	if !w.dead && !w.added() {
		w.segments[w.current].weight += w.m.weight(i)
	}
	switch i.Op {
	case wasm.OpGlobalGet, wasm.OpGlobalSet:
		within(r, "global", i.Index, w.m.globals)
	case wasm.OpBlock, wasm.OpLoop, wasm.OpIf:
		within(r, "type", i.Index, w.m.types)
		w.open(i, r.At)
	case wasm.OpElse:
		w.otherwise(r)
	case wasm.OpEnd:
		w.close(r.At)
	case wasm.OpBr, wasm.OpBrIf:
		w.target(r, i.Index)
		if i.Op == wasm.OpBr {
			w.dead = true
		} else if !w.dead {
			w.begin(w.current, r.At)
		}
	case wasm.OpBrTable:
		t := &wasm.Reader{B: r.B, At: int(i.Index)}
		t.Each(func(t *wasm.Reader) { w.target(r, int64(t.U32())) })
		w.target(r, int64(t.U32()))
		w.dead = true
	case wasm.OpReturn, wasm.OpUnreachable:
		w.dead = true
	case wasm.OpCall, wasm.OpReturnCall, wasm.OpCallIndirect, wasm.OpReturnCallIndirect, wasm.OpRefFunc:
		w.refer(r, i)
	case wasm.OpBulk:
		w.bulk(r, i)
	}
}

func (w *walker) open(i *wasm.Instruction, at int) {
	w.frames = append(w.frames, frame{op: i.Op, dead: w.dead, before: w.current})
	if w.dead || i.Op == wasm.OpBlock {
		return
	}
	w.begin(w.current, at)
	if i.Op == wasm.OpLoop {
		w.frames[len(w.frames)-1].first = w.current
		s := &w.segments[w.current]
		s.root, s.params = true, i.Index >= 0
	}
}

func (w *walker) otherwise(r *wasm.Reader) {
	f := &w.frames[len(w.frames)-1]
	if f.op != wasm.OpIf {
		r.Fail(errNesting)
		return
	}
	f.op = wasm.OpElse
	if w.dead = f.dead; !w.dead {
		w.begin(f.before, r.At)
	}
}

func (w *walker) close(at int) {
	f := w.frames[len(w.frames)-1]
	w.frames = w.frames[:len(w.frames)-1]
	if len(w.frames) == 0 {
		w.ended = true
		return
	}
	if f.op == wasm.OpLoop && !f.dead && !f.targeted {
		w.segments[f.first].root = false // it is executed once
		w.segments[f.first].params = false
	}
	joins := f.op == wasm.OpIf || f.op == wasm.OpElse || f.op == wasm.OpBlock && f.targeted
	switch {
	case f.dead:
		w.dead = true
	case joins:
		w.dead = false
		w.begin(f.before, at)
	case f.op == wasm.OpLoop && !w.dead:
		w.begin(f.before, at)
	}
}

// target notes a branch to a label.
func (w *walker) target(r *wasm.Reader, label int64) {
	n := int64(len(w.frames)) - 1 - label
	if n < 0 {
		r.Fail(fmt.Errorf("%w: there is no label %d", errNesting, label))
	} else if !w.dead {
		w.frames[n].targeted = true
	}
}

// refer deals with instructions that name functions or call them.
func (w *walker) refer(r *wasm.Reader, i *wasm.Instruction) {
	indirect := i.Op == wasm.OpCallIndirect || i.Op == wasm.OpReturnCallIndirect
	if indirect {
		within(r, "type", i.Index, w.m.types)
	} else {
		within(r, "function", i.Index, w.m.functions)
		w.edit(i.At+1, r.At, editIndex, uint32(i.Index))
	}
	if i.Op == wasm.OpRefFunc {
		return
	}
	if (indirect || uint32(i.Index) >= w.m.imported) && !w.dead {
		w.calls = append(w.calls, w.current)
	}
	if i.Op == wasm.OpReturnCall || i.Op == wasm.OpReturnCallIndirect {
		w.dead = true
	}
}

// bulk deals with instructions that take as long as a number on the stack says.
func (w *walker) bulk(r *wasm.Reader, i *wasm.Instruction) {
	h, kind, end := helperMeasure, editMeasure, i.At
	switch i.Sub {
	case wasm.SubMemoryFill:
		h, kind, end = helperFill, editCall, r.At
	case wasm.SubMemoryCopy:
		h, kind, end = helperCopy, editCall, r.At
	case wasm.SubMemoryInit, wasm.SubTableInit, wasm.SubTableCopy, wasm.SubTableGrow, wasm.SubTableFill:
	default:
		return
	}
	w.edit(i.At, end, kind, w.m.helper(h))
}

// checksEntry says whether the function has to look at the counter where it begins: where it calls something before it has
// passed the head of a loop. If it calls nothing, its caller and its loops do.
func (w *walker) checksEntry() bool {
	loop := int32(len(w.segments)) // the first one that is always passed
	for n, s := range w.segments {
		if s.root && s.parent == 0 {
			loop = int32(n)
			break
		}
	}
	w.outside = inEntry(w.segments, w.outside)
	for _, n := range w.calls {
		if n < loop && w.outside[n] {
			return true
		}
	}
	return false
}

// appendBody appends the changed body, which begins at a place in the original's code.
func (w *walker) appendBody(out, body []byte, at int) []byte {
	entry := w.checksEntry()
	fold(w.segments)
	done, places, from := int32(0), w.m.places, piece{}
	if places != nil {
		places.note(len(out), at)
	}
	for _, e := range w.edits {
		before := len(out) + int(e.end-done)
		out = append(out, body[done:e.at]...)
		done = e.end
		switch e.kind {
		case editCharge:
			out = w.appendCharge(out, e.arg, entry)
		case editIndex:
			out = wasm.AppendLEB(out, uint64(w.m.moved(e.arg)))
		case editCall, editMeasure:
			out = wasm.AppendLEB(append(out, wasm.OpCall), uint64(e.arg))
		case editPiece:
			from = w.pieces[e.arg]
		}
		if places != nil && (len(out) != before || e.kind == editPiece) {
			places.note(len(out), at+from.was+int(done)-from.now)
		}
	}
	return append(out, body[done:]...)
}

// appendCharge appends what stands where a segment begins.
func (w *walker) appendCharge(out []byte, n uint32, entry bool) []byte {
	s := &w.segments[n]
	switch {
	case n == 0 && entry, s.params:
		out = w.m.check(out)
	case n > 0 && s.root:
		out = w.m.checkLoop(out)
	}
	return w.m.charge(out, s.weight)
}

// code is the new code section.
func (m *rewriter) code() ([]byte, error) {
	r := &wasm.Reader{B: m.sections[wasm.SectionCode]}
	var n uint32
	if r.B != nil {
		n = r.Count()
	}
	w, u, scratch := &walker{m: m}, &unroller{l: &m.layout}, []byte(nil)
	out := make([]byte, 0, len(r.B)+len(r.B)/2)
	for f := uint32(0); f < n && r.Err == nil; f++ {
		body := r.Bytes()
		if r.Err != nil {
			break
		}
		start := r.At - len(body)
		body, pieces := u.unroll(body)
		if err := w.walk(body, pieces); err != nil {
			return nil, fmt.Errorf("function %d: %w", uint64(f)+uint64(m.imported), err)
		}
		first := 0
		if m.places != nil {
			first = len(m.places.now)
		}
		scratch = w.appendBody(scratch[:0], body, start)
		out = wasm.AppendLEB(out, uint64(len(scratch)))
		m.places.moved(first, len(out))
		out = append(out, scratch...)
	}
	if r.Err == nil && r.Left() > 0 {
		r.Fail(errors.New("it has bytes too many"))
	}
	for _, h := range m.helpers {
		out = wasm.AppendBytes(out, m.helperBody(h))
	}
	if r.B == nil && n == 0 && len(m.helpers) == 0 {
		return nil, r.Err
	}
	head := wasm.AppendLEB(nil, uint64(n)+uint64(len(m.helpers)))
	m.places.moved(0, len(head))
	return append(head, out...), r.Err
}
