package quickjs

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
)

var (
	runtimeFrame = regexp.MustCompile(`\bruntime:\d+(:\d+)?\)?$`)
	scriptPlace  = regexp.MustCompile(`\bscript:(\d+):(\d+)`)
)

// Readable makes a stack that the engine told after [ExportInterrupt] one for the script's author: without the frames of the SDK's runtime, and with the
// places of the sources that the script was made of. input is the script's [Script.Input]. sdk/js/runtime.js does the same with the stacks of errors.
func Readable(input []byte, stack string) string {
	var kept []string
	for line := range strings.Lines(stack) {
		if line = strings.TrimSuffix(line, "\n"); strings.TrimSpace(line) != "" && !runtimeFrame.MatchString(line) {
			kept = append(kept, line)
		}
	}
	for len(kept) > 0 && strings.HasSuffix(kept[0], "<anonymous> (native)") { // the runtime's natives; those of the language have names
		kept = kept[1:]
	}
	stack = strings.Join(kept, "\n")
	var places []place
	for _, m := range scriptPlace.FindAllStringSubmatch(stack, -1) {
		places = append(places, newPlace(m))
	}
	found := originals(mapOf(input), places)
	return scriptPlace.ReplaceAllStringFunc(stack, func(text string) string {
		if at, ok := found[newPlace(scriptPlace.FindStringSubmatch(text))]; ok {
			return at
		}
		return text
	})
}

// place is a line and a column, from 1, of a script.
type place struct{ line, column int }

// newPlace is one of what scriptPlace has found; numbers that are too large are 0, which is nowhere.
func newPlace(m []string) (p place) {
	line, err1 := strconv.ParseInt(m[1], 10, 32)
	column, err2 := strconv.ParseInt(m[2], 10, 32)
	if err1 == nil && err2 == nil {
		p = place{int(line), int(column)}
	}
	return p
}

// mapOf is the third text of an engine's input, nil where it has none.
func mapOf(input []byte) []byte {
	for range 2 {
		if len(input) < 4 {
			return nil
		}
		n := uint64(binary.LittleEndian.Uint32(input)) + 5
		if n > uint64(len(input)) {
			return nil
		}
		input = input[n:]
	}
	if len(input) < 5 {
		return nil
	}
	return input[4 : len(input)-1]
}

// originals finds where places of a script were written, as "file:line:column", by its source map (https://tc39.es/ecma426/). Those that the map does not
// have are not in the result.
func originals(sourceMap []byte, places []place) map[place]string {
	var m struct {
		Sources  []string `json:"sources"`
		Mappings string   `json:"mappings"`
	}
	if len(places) == 0 || json.Unmarshal(sourceMap, &m) != nil {
		return nil
	}
	byLine := map[int][]place{}
	for _, p := range places {
		byLine[p.line] = append(byLine[p.line], p)
	}
	nearest := map[place][4]int{}
	for line, at := range segments(m.Mappings) {
		for _, p := range byLine[line] {
			if at[0] < p.column {
				nearest[p] = at
			}
		}
	}
	found := map[place]string{}
	for p, at := range nearest {
		if at[1] >= 0 && at[1] < len(m.Sources) {
			found[p] = fmt.Sprintf("%s:%d:%d", m.Sources[at[1]], at[2]+1, at[3]+1)
		}
	}
	return found
}

// segments are those of a source map's mappings, in order: the line of the script, from 1, and, all from 0, the column, the source, and the line and the column
// there. They end where the text is none of mappings.
func segments(mappings string) iter.Seq2[int, [4]int] {
	return func(yield func(int, [4]int) bool) {
		var at [4]int
		line := 0
		for text := range strings.SplitSeq(mappings, ";") {
			line++
			at[0] = 0
			for segment := range strings.SplitSeq(text, ",") {
				if segment == "" {
					continue
				}
				if !advance(&at, segment) || !yield(line, at) {
					return
				}
			}
		}
	}
}

const vlqDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// advance adds a segment's numbers to at: digits of base 64 with five bits each, the lowest first, and a sixth where more follow; the lowest bit of a number is
// its sign. It is false where the segment is none.
func advance(at *[4]int, segment string) bool {
	field, value, shift := 0, 0, 0
	for i := range len(segment) {
		digit := strings.IndexByte(vlqDigits, segment[i])
		if digit < 0 || shift > 30 {
			return false
		}
		value |= (digit & 31) << shift
		shift += 5
		if digit&32 != 0 {
			continue
		}
		if value&1 != 0 {
			value = -(value >> 1)
		} else {
			value >>= 1
		}
		if field < len(at) { // a fifth is the number of a name
			at[field] += value
		}
		field++
		value, shift = 0, 0
	}
	return shift == 0
}
