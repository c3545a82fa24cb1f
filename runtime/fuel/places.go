package fuel

import (
	"encoding/binary"
	"sort"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// Places tells where in the original's code an instruction of the rewritten module is from. Both are counted in bytes from the
// beginning of the code section's body, as DWARF does.
type Places struct {
	now, was []uint32 // from now[i] to now[i+1] the code is the original's from was[i] on, and what was added there
}

// Original is the place in the original of one in the rewritten module. For what was added it is that of the instruction that
// follows.
func (p *Places) Original(now uint32) uint32 {
	next := sort.Search(len(p.now), func(i int) bool { return p.now[i] > now })
	if next == 0 {
		return 0
	}
	was := p.was[next-1] + (now - p.now[next-1])
	if next < len(p.was) && p.was[next] >= p.was[next-1] { // else a round of a loop is there again
		was = min(was, p.was[next])
	}
	return was
}

// note is called in the order of places.
func (p *Places) note(now, was int) {
	p.now, p.was = append(p.now, uint32(now)), append(p.was, uint32(was))
}

// moved moves the new places, from the one numbered first on.
func (p *Places) moved(first, by int) {
	if p == nil {
		return
	}
	for i := first; i < len(p.now); i++ {
		p.now[i] += uint32(by)
	}
}

// Beacon is the file that the debug information of a rewritten module names for every place: with it the engine tells of each frame
// of a stack where in the code it stands, as "0x1f: Beacon:1". The original's own information would have wrong places.
const Beacon = "shardmill"

// hasLines is whether a custom section of that name tells lines of the source.
func hasLines(name string) bool { return name == ".debug_line" }

// beacon are custom sections with debug information (DWARF 4, https://dwarfstd.org/doc/DWARF4.pdf) of one unit, one file and one line, for any
// place.
func beacon() []byte {
	const first, length = 1, 0x7ffffff0 // not 0, which stands for what the linker has removed
	u32 := binary.LittleEndian.AppendUint32
	abbrev := []byte{
		1, 0x11, 0, // a compile unit without children
		0x10, 0x17, // stmt_list: sec_offset
		0x11, 0x01, // low_pc: addr
		0x12, 0x06, // high_pc: data4, relative
		0, 0, 0,
	}
	info := u32(u32(u32(append(u32([]byte{4, 0}, 0), 4, 1), 0), first), length)
	info = append(u32(nil, uint32(len(info))), info...)

	header := append([]byte{1, 1, 1, 0xfb, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0}, Beacon...)
	header = append(header, 0, 0, 0, 0, 0) // end of the name, folder, time, size; end of the files
	program := append(u32([]byte{0, 5, 2}, first), 1, 2)
	program = append(wasm.AppendLEB(program, length), 0, 1, 1)
	line := append(append(u32([]byte{4, 0}, uint32(len(header))), header...), program...)
	line = append(u32(nil, uint32(len(line))), line...)

	var out []byte
	for _, s := range []struct {
		name string
		body []byte
	}{{".debug_abbrev", abbrev}, {".debug_info", info}, {".debug_line", line}} {
		body := append(wasm.AppendBytes(nil, s.name), s.body...)
		out = append(wasm.AppendLEB(append(out, wasm.SectionCustom), uint64(len(body))), body...)
	}
	return out
}
