package runtime

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ianlancetaylor/demangle"

	"github.com/shardmill/shardmill/runtime/fuel"
)

// source finds the lines of a program's source, where its module carries them (DWARF). Nothing of that is kept in memory but the lines
// that were asked for: the module is read again when a stack has a place that is new.
type source struct {
	places *fuel.Places
	code   func(context.Context) ([]byte, error) // the module as it was uploaded
	read   lineFinder                            // nil: FindLines

	mu    sync.Mutex
	known map[uint32][]string // lines of the source, by the place in the code
}

// lineFinder is as Options.FindLines.
type lineFinder func(ctx context.Context, code []byte, places []uint32) ([][]string, error)

const (
	maxKnownPlaces = 1000             // that a source remembers
	maxPlaces      = 64               // of one stack that have lines; the engine shows 30 frames
	findTimeout    = 10 * time.Second // of the call that has failed, which waits for its stack
)

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

// withoutEngine is a script's stack without the frames of the engine, a module without a name whose functions have none: they are not the author's, and
// say nothing. What is left is the door of the host where the script was stopped, if it was at one. What a script sleeps for is a timer.
func withoutEngine(stack string) string {
	var kept []string
	for line := range strings.Lines(stack) {
		switch {
		case strings.HasPrefix(line, "."):
		case strings.HasPrefix(line, "wasi_snapshot_preview1.poll_oneoff("):
			kept = append(kept, "    (it waits for a timer)\n")
		default:
			kept = append(kept, line)
		}
	}
	return strings.TrimSuffix(strings.Join(kept, ""), "\n")
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
	s.learn(at[:min(len(at), maxPlaces)])
	found := make(map[uint32][]string, len(at))
	for _, place := range at {
		found[place] = s.known[place]
	}
	return found
}

// learn looks up the places that are not known; s.mu is held. Where that does not work, the next stack may have more luck.
func (s *source) learn(at []uint32) {
	var places []uint32
	for _, place := range at {
		if _, known := s.known[place]; !known && !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), findTimeout)
	defer cancel()
	code, err := s.code(ctx)
	if err != nil {
		return
	}
	original := make([]uint32, len(places))
	for i, place := range places {
		original[i] = s.places.Original(place)
	}
	read := s.read
	if read == nil {
		read = func(_ context.Context, code []byte, places []uint32) ([][]string, error) {
			return FindLines(code, places), nil
		}
	}
	lines, err := read(ctx, code, original)
	if errors.Is(err, ErrBadLines) { // looking again would cost as much
		s.code = nil
	}
	if err != nil || len(lines) != len(places) {
		return
	}
	for i, place := range places {
		s.known[place] = lines[i]
	}
}
