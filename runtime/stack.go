package runtime

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"github.com/ianlancetaylor/demangle"

	"github.com/shardmill/shardmill/runtime/fuel"
)

// source finds the lines of a program's source, where its module carries them (DWARF). Nothing of that is kept in memory but the lines
// that were asked for: the module is read again when a stack has a place that is new.
type source struct {
	places *fuel.Places
	code   func(context.Context) ([]byte, error) // the module as it was uploaded

	mu    sync.Mutex
	known map[uint32][]string // lines of the source, by the place in the code
}

// maxKnownPlaces bounds what a source remembers.
const maxKnownPlaces = 1000

// readable makes the engine's stack one for the function's author: a frame a line, names as they are in the source, and below each its
// places in the source, "\tfile:line:column", the innermost first.
func (s *source) readable(stack string) string {
	var out []string
	var at []uint32
	var where []int // in out, of what stands for at
	for _, line := range strings.Split(stack, "\n") {
		line = strings.TrimPrefix(line, "\t")
		place, found := placeOf(line)
		switch {
		case found:
			at, where = append(at, place), append(where, len(out))
			out = append(out, "")
		case len(out) == 0 && strings.HasPrefix(line, fuel.ImportModule+"."): // where a guest is stopped, it has called the meter
		default:
			out = append(out, readableFrame(line))
		}
	}
	found := s.find(at)
	var b strings.Builder
	for i, line := range out {
		lines := []string{line}
		if len(where) > 0 && where[0] == i {
			lines, where = found[at[0]], where[1:]
			at = at[1:]
		}
		for _, line := range lines {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// placeOf reads what the engine tells of a place, thanks to the rewriter's beacon: "\t0x1f: shardmill:1".
func placeOf(line string) (place uint32, found bool) {
	number, found := strings.CutPrefix(strings.TrimSpace(line), "0x")
	if !found {
		return 0, false
	}
	number, found = strings.CutSuffix(number, ": "+fuel.Beacon+":1")
	if !found {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 16, 32)
	return uint32(n), err == nil
}

// readableFrame demangles the name in a frame, "module.name(types) types".
func readableFrame(line string) string {
	const longest = 4 << 10
	from := strings.IndexByte(line, '.') + 1
	to := strings.IndexByte(line, '(')
	if from < 1 || to < from || to-from > longest || line[from] != '_' {
		return line
	}
	name := demangle.Filter(line[from:to], demangle.NoParams, demangle.NoTemplateParams, demangle.MaxLength(10))
	return line[:from] + name + line[to:]
}

// find are the lines of places. Those that are not known have none.
func (s *source) find(at []uint32) map[uint32][]string {
	if s == nil || s.code == nil || len(at) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) > maxKnownPlaces || s.known == nil {
		s.known = map[uint32][]string{}
	}
	var debug *debugInfo
	for _, place := range at {
		if _, known := s.known[place]; known {
			continue
		}
		if debug == nil {
			code, err := s.code(context.Background())
			if err != nil {
				return s.known // the next stack may have more luck
			}
			debug = readDebugInfo(code)
		}
		s.known[place] = debug.lines(uint64(s.places.Original(place)))
	}
	found := make(map[uint32][]string, len(at))
	for _, place := range at {
		found[place] = s.known[place]
	}
	return found
}
