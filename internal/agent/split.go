package agent

import (
	"bytes"
	"regexp"
)

// splitter finds where records end. Its zero value makes each line a record. Records keep their line breaks.
type splitter struct {
	start *regexp.Regexp // a record begins at a line that matches, from its beginning
	hint  int            // a record is as many lines as fit in so many bytes, and at least one; 0 = one line
}

// next is the length of the record that b begins with, 0 when it cannot be told yet. quiet says that nothing has been added
// for a while: then a record of several lines may end with the last whole one.
func (s *splitter) next(b []byte, quiet bool) int {
	line := lineEnd(b)
	switch {
	case line == 0:
		return 0
	case s.start != nil:
		return s.several(b, line, quiet)
	case s.hint > 0:
		for {
			more := lineEnd(b[line:])
			if more == 0 || line+more > s.hint {
				return line
			}
			line += more
		}
	}
	return line
}

// several is next where lines that do not match belong to the one before; end is that of the first line.
func (s *splitter) several(b []byte, end int, quiet bool) int {
	for {
		more := lineEnd(b[end:])
		switch {
		case more == 0 && quiet:
			return end
		case more == 0:
			return 0
		case s.start.Match(b[end : end+more]):
			return end
		}
		end += more
	}
}

// resume is how many bytes of b belong to a record whose rest is not wanted, and whether the next one has been found.
func (s *splitter) resume(b []byte) (skip int, found bool) {
	for {
		line := lineEnd(b[skip:])
		if line == 0 {
			if s.start == nil {
				skip = len(b)
			}
			return skip, false
		}
		if s.start == nil {
			return skip + line, true
		}
		if s.start.Match(b[skip : skip+line]) {
			return skip, true
		}
		skip += line
	}
}

// lineEnd is the length of the first line with its break, 0 when there is no whole one.
func lineEnd(b []byte) int { return bytes.IndexByte(b, '\n') + 1 }
