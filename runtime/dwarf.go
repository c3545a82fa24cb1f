package runtime

import (
	"debug/dwarf"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// ErrBadLines, of Options.FindLines: a module's debug information cannot be read. It is not looked at again.
var ErrBadLines = errors.New("the module's debug information cannot be read")

// FindLines finds the lines of the source of places in a module's code, counted in bytes from the beginning of the code section's body:
// of each the texts "\tfile:line:column", the innermost first, and none where the module does not tell. A hostile module can have it use up the
// process's memory.
func FindLines(code []byte, places []uint32) [][]string {
	debug := readDebugInfo(code)
	out := make([][]string, len(places))
	for i, place := range places {
		out[i] = debug.lines(uint64(place))
	}
	return out
}

// Bounds of what is shown.
const (
	maxShownFile = 512 // bytes of a file's name
	maxInlined   = 32  // calls at one place
)

// debugInfo is what a module tells of its source, as DWARF in custom sections (https://yurydelendik.github.io/webassembly-dwarf).
// It comes from strangers: what is wrong with it makes lines fewer, and nothing else.
type debugInfo struct {
	data  *dwarf.Data // nil where there is none
	steps int         // that may still be taken
}

// maxDebugSteps bounds the work on the places of one stack, in entries and ranges that are looked at.
const maxDebugSteps = 20_000_000

func readDebugInfo(code []byte) (d *debugInfo) {
	d = &debugInfo{steps: maxDebugSteps}
	defer d.recover()
	sections := map[string][]byte{}
	for s, err := range wasm.Sections(code) {
		if err != nil {
			return d
		}
		if s.ID != wasm.SectionCustom {
			continue
		}
		r := &wasm.Reader{B: s.Bytes}
		if name, is := strings.CutPrefix(string(r.Name()), ".debug_"); is && r.Err == nil {
			sections[name] = s.Bytes[r.At:]
		}
	}
	data, err := dwarf.New(sections["abbrev"], nil, nil, sections["info"], sections["line"], nil, sections["ranges"], sections["str"])
	for _, name := range []string{"addr", "line_str", "str_offsets", "rnglists"} { // of DWARF 5
		if section := sections[name]; err == nil && section != nil {
			err = data.AddSection(".debug_"+name, section)
		}
	}
	if err == nil {
		d.data = data
	}
	return d
}

// recover has what the library makes of hostile bytes be no more than no lines.
func (d *debugInfo) recover() {
	if r := recover(); r != nil {
		d.data = nil
	}
}

// lines are the places in the source of a place in the code, the innermost first.
func (d *debugInfo) lines(pc uint64) (out []string) {
	defer d.recover()
	if d.data == nil {
		return nil
	}
	r := d.data.Reader()
	for {
		unit, err := r.Next()
		if err != nil || unit == nil || d.steps < 0 {
			return nil
		}
		d.steps--
		if unit.Tag == dwarf.TagCompileUnit && d.covers(unit, pc) {
			return d.linesIn(r, unit, pc)
		}
		r.SkipChildren()
	}
}

// covers is whether an entry's ranges have a place. A range from 0 is of a function that the linker has left out.
func (d *debugInfo) covers(e *dwarf.Entry, pc uint64) bool {
	ranges, err := d.data.Ranges(e)
	d.steps -= len(ranges)
	if err != nil || d.steps < 0 {
		return false
	}
	for _, r := range ranges {
		if r[0] != 0 && r[0] <= pc && pc < r[1] {
			return true
		}
	}
	return false
}

// linesIn are the lines of a place in a unit: that of the instruction, and those of the calls that were inlined there.
func (d *debugInfo) linesIn(r *dwarf.Reader, unit *dwarf.Entry, pc uint64) []string {
	table, err := d.data.LineReader(unit)
	if err != nil || table == nil {
		return nil
	}
	dir, _ := unit.Val(dwarf.AttrCompDir).(string)
	var last, next dwarf.LineEntry
	for found := false; !found; last = next {
		if table.Next(&next) != nil || d.steps < 0 {
			return nil
		}
		d.steps--
		if found = !last.EndSequence && last.File != nil && last.Address != 0 && last.Address <= pc && pc < next.Address; found {
			break
		}
	}
	if last.Line == 0 {
		return nil
	}
	calls := d.inlined(r, unit, pc)
	out := []string{lineText(last.File.Name, dir, int64(last.Line), int64(last.Column), len(calls) > 0)}
	files := table.Files()
	for i := len(calls) - 1; i >= 0 && len(out) <= maxInlined; i-- {
		file, _ := calls[i].Val(dwarf.AttrCallFile).(int64)
		line, _ := calls[i].Val(dwarf.AttrCallLine).(int64)
		column, _ := calls[i].Val(dwarf.AttrCallColumn).(int64)
		if file < 0 || file >= int64(len(files)) || files[file] == nil || line == 0 {
			break
		}
		out = append(out, lineText(files[file].Name, dir, line, column, i > 0))
	}
	return out
}

// inlined are the inlined calls at a place, the outermost first. r stands behind the unit's own entry.
func (d *debugInfo) inlined(r *dwarf.Reader, unit *dwarf.Entry, pc uint64) (calls []*dwarf.Entry) {
	if !unit.Children {
		return nil
	}
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil || e == nil || d.steps < 0 {
			return calls
		}
		d.steps--
		inside := true
		switch e.Tag {
		case 0: // the end of a list of children
			depth--
			continue
		case dwarf.TagSubprogram, dwarf.TagInlinedSubroutine, dwarf.TagLexDwarfBlock:
			inside = d.covers(e, pc)
		case dwarf.TagNamespace, dwarf.TagStructType, dwarf.TagClassType:
		default:
			inside = false
		}
		if !inside {
			r.SkipChildren()
			continue
		}
		if e.Tag == dwarf.TagInlinedSubroutine {
			calls = append(calls, e)
		}
		if e.Children {
			depth++
		}
	}
	return calls
}

// lineText is a place as it is shown: below the folder that was compiled in without that.
func lineText(file, dir string, line, column int64, inlined bool) string {
	if dir != "" {
		file = strings.TrimPrefix(file, path.Clean(dir)+"/")
	}
	file = strings.TrimPrefix(file, "./")
	if over := len(file) - maxShownFile; over > 0 {
		file = "…" + file[over:]
	}
	text := fmt.Sprintf("\t%s:%d", text([]byte(file)), line)
	if column > 0 {
		text += fmt.Sprintf(":%d", column)
	}
	if inlined {
		text += " (inlined)"
	}
	return text
}
