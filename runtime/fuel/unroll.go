package fuel

import "github.com/shardmill/shardmill/runtime/wasm"

// A loop is gone through twice for one look at the counter when it is short: then the look is a good part of a round. What it holds up is not only itself: the
// engine's register allocator keeps what a loop changes ready for the call behind the look, in memory, which is not needed where the first round
// meets the second. Longer loops would gain little, and their code is there twice.
const (
	unrollWeight = 128 // of a round
	unrollBytes  = 512
)

// unroller writes short innermost loops twice:
//
//	loop      becomes   block
//	  round               loop
//	end                     block
//	                          round, which goes on below
//	                          br 2
//	                        end
//	                        round, which goes on above
//	                      end
//	                    end
//
// It does not validate: the second round ends as the loop did, so that what is wrong with the loop is wrong with that, and the engine refuses it.
type unroller struct {
	l     *layout
	open  []opened
	loops []shortLoop
	out   []byte
	from  []piece
}

// opened is a block that has not ended.
type opened struct {
	op        byte
	at, first int // the instruction, and what follows it
	loop      int // the loop that it stands in, itself included, as an index of open; -1 = none
	weight    int64
	again     bool // something goes back to its head
	fixed     bool // it is to stay as it is
}

// shortLoop is one that is to be written twice: its instruction, what follows that, its end, and what follows that.
type shortLoop struct{ at, first, end, next int }

// piece says where in a body what is at a place of the new one is from; what follows too, up to the next piece.
type piece struct {
	now, was int
	added    bool // there was no such instruction
}

// unroll returns what is to be walked in place of body, and where that is from; nil where it is body itself. Both hold until the next call.
func (u *unroller) unroll(body []byte) ([]byte, []piece) {
	u.open, u.loops = u.open[:0], u.loops[:0]
	r := &wasm.Reader{B: body}
	r.Each(func(r *wasm.Reader) { r.SkipU32(); r.Skip(1) })
	var i wasm.Instruction
	for r.Err == nil && r.Left() > 0 {
		if r.Instruction(&i); r.Err == nil {
			u.step(&i, r.At)
		}
	}
	if r.Err != nil || len(u.loops) == 0 {
		return body, nil
	}
	u.out, u.from = u.out[:0], append(u.from[:0], piece{})
	done := 0
	for _, l := range u.loops {
		u.out = append(u.out, body[done:l.at]...)
		u.twice(body, l)
		done = l.next
		u.piece(done)
	}
	u.out = append(u.out, body[done:]...)
	return u.out, u.from
}

// innermost is the loop that what comes next stands in; nil = none.
func (u *unroller) innermost() *opened {
	if n := len(u.open) - 1; n >= 0 && u.open[n].loop >= 0 {
		return &u.open[u.open[n].loop]
	}
	return nil
}

func (u *unroller) step(i *wasm.Instruction, next int) {
	loop := u.innermost()
	if loop != nil {
		loop.weight += u.l.weight(i)
	}
	switch i.Op {
	case wasm.OpBlock, wasm.OpLoop, wasm.OpIf:
		o := opened{op: i.Op, at: i.At, first: next, loop: -1}
		if n := len(u.open) - 1; n >= 0 {
			o.loop = u.open[n].loop
		}
		if i.Op == wasm.OpLoop {
			if loop != nil {
				loop.fixed = true
			}
			o.loop, o.fixed = len(u.open), i.Index >= 0 // a type of its own may have parameters
		}
		u.open = append(u.open, o)
	case wasm.OpEnd:
		u.close(i.At, next)
	case wasm.OpBr, wasm.OpBrIf:
		if to := int64(len(u.open)) - 1 - i.Index; to >= 0 {
			u.open[to].again = true
		}
	case wasm.OpBrTable, wasm.OpCall, wasm.OpCallIndirect, wasm.OpReturnCall, wasm.OpReturnCallIndirect, wasm.OpMemoryGrow, wasm.OpBulk:
		if loop != nil && (i.Op != wasm.OpBulk || i.Sub >= wasm.SubMemoryInit) { // else a conversion
			loop.fixed = true
		}
	}
}

func (u *unroller) close(end, next int) {
	last := len(u.open) - 1
	if last < 0 { // the function's
		return
	}
	o := u.open[last]
	u.open = u.open[:last]
	if o.op == wasm.OpLoop && o.again && !o.fixed && o.weight <= unrollWeight && end-o.first <= unrollBytes {
		u.loops = append(u.loops, shortLoop{o.at, o.first, end, next})
	}
}

// piece notes that what comes next is from a place.
func (u *unroller) piece(was int) { u.from = append(u.from, piece{now: len(u.out), was: was}) }

// add writes an instruction that was not there before the one at a place.
func (u *unroller) add(was int, instruction ...byte) {
	u.from = append(u.from, piece{len(u.out), was, true})
	u.out = append(u.out, instruction...)
}

func (u *unroller) twice(body []byte, l shortLoop) {
	kind := body[l.at+1 : l.first]
	u.add(l.at, append([]byte{wasm.OpBlock}, kind...)...)
	u.piece(l.at)
	u.out = append(u.out, body[l.at:l.first]...)
	u.add(l.first, wasm.OpBlock, wasm.BlockEmpty)
	u.round(body, l, 2)
	u.add(l.end, wasm.OpBr, 2)
	u.add(l.end, wasm.OpEnd)
	u.round(body, l, 1)
	u.piece(l.end)
	u.out = append(u.out, wasm.OpEnd)
	u.add(l.next, wasm.OpEnd)
}

// round writes a loop's instructions, of which those that leave it have so many blocks more to leave.
func (u *unroller) round(body []byte, l shortLoop, more int64) {
	u.piece(l.first)
	r := &wasm.Reader{B: body[:l.end], At: l.first}
	var i wasm.Instruction
	for inside, done := int64(0), l.first; r.Err == nil && r.Left() > 0; {
		r.Instruction(&i)
		switch i.Op {
		case wasm.OpBlock, wasm.OpIf:
			inside++
		case wasm.OpEnd:
			inside--
		case wasm.OpBr, wasm.OpBrIf:
			if i.Index > inside {
				u.out = wasm.AppendLEB(append(u.out, i.Op), uint64(i.Index+more))
				done = r.At
				u.piece(done)
			}
		}
		u.out = append(u.out, body[done:r.At]...)
		done = r.At
	}
}
