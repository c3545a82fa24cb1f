package fuel

import (
	"strconv"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// Parts of the name section.
const (
	namesModule    = 0
	namesFunctions = 1
)

// nameSection is a new name section: the module's and the functions' names, which stack traces are made of. A function without a name is
// given one of its original index, in the engine's own form.
func (m *rewriter) nameSection() []byte {
	module, functions := m.readNames()
	var body []byte
	n := uint32(0)
	name := func(index uint32, name []byte) {
		n++
		body = wasm.AppendBytes(wasm.AppendLEB(body, uint64(index)), name)
	}
	for f := range m.functions {
		switch known, ok := functions[f]; {
		case ok:
			name(m.moved(f), known)
		case f >= m.imported:
			name(m.moved(f), strconv.AppendUint([]byte{'$'}, uint64(f), 10))
		}
	}
	for at, h := range m.helpers {
		name(m.functions+1+uint32(at), []byte(helperNames[h]))
	}
	body = append(wasm.AppendLEB(nil, uint64(n)), body...)
	out := wasm.AppendBytes(nil, "name")
	if module != nil {
		out = wasm.AppendBytes(append(out, namesModule), wasm.AppendBytes(nil, module))
	}
	return wasm.AppendBytes(append(out, namesFunctions), body)
}

// readNames reads the original's names. A section that is damaged gives those before the damage.
func (m *rewriter) readNames() (module []byte, functions map[uint32][]byte) {
	functions = map[uint32][]byte{}
	r := &wasm.Reader{B: m.names}
	for r.Err == nil && r.Left() > 0 {
		id := r.Byte()
		part := &wasm.Reader{B: r.Bytes()}
		switch id {
		case namesModule:
			module = part.Bytes()
		case namesFunctions:
			part.Each(func(r *wasm.Reader) {
				index, name := r.U32(), r.Bytes()
				if r.Err == nil {
					functions[index] = name
				}
			})
		}
	}
	return module, functions
}
