package api

import (
	"bytes"
	"io"
)

// Sizes of the buffer that lines are found in.
const (
	lineBuffer = 256 << 10
	lineSlack  = 64 << 10
	minBuffer  = 512
)

// lineReader cuts a body into lines. Its memory is one buffer, which grows to
// the longest line allowed and no further: a longer line is passed over.
type lineReader struct {
	r        io.Reader
	max      int // bytes of the longest line
	buf      []byte
	start    int   // of what is not taken yet
	scanned  int   // no line feed is between start and here
	end      int   // of what has been read
	number   int64 // of the line last taken, from 1
	skipping bool  // the line at start is too long and its end has not come yet
}

// newLineReader reads lines of at most maxLine bytes. length is how long the
// body is, so that a short one has a small buffer, or -1 when that is not known.
func newLineReader(r io.Reader, maxLine int, length int64) *lineReader {
	size := min(lineBuffer, maxLine+lineSlack)
	if length >= 0 {
		size = int(min(int64(size), max(length+1, minBuffer)))
	}
	return &lineReader{r: r, max: maxLine, buf: make([]byte, size)}
}

// lineState is what take found.
type lineState int

const (
	lineNone lineState = iota // no whole line is there: fill
	lineWhole
	lineTooLong
)

// fill reads once, as much as there is room for. The lines taken before it are
// no longer valid. After an error, io.EOF included, take gives the lines that
// came with it.
func (l *lineReader) fill() error {
	if l.start > 0 {
		copy(l.buf, l.buf[l.start:l.end])
		l.scanned -= l.start
		l.end -= l.start
		l.start = 0
	}
	if l.end == len(l.buf) {
		l.grow()
	}
	n, err := l.r.Read(l.buf[l.end:])
	l.end += n
	return err
}

// grow makes room where a line fills the buffer, or begins to pass over it.
func (l *lineReader) grow() {
	most := l.max + lineSlack
	if len(l.buf) >= most {
		l.skipping = true
		l.scanned, l.end = 0, 0
		return
	}
	bigger := make([]byte, min(2*len(l.buf), most))
	copy(bigger, l.buf[:l.end])
	l.buf = bigger
}

// take gives the next whole line without its end (a line feed, or carriage
// return and line feed). It is valid until the next fill.
func (l *lineReader) take() ([]byte, lineState) {
	at := bytes.IndexByte(l.buf[l.scanned:l.end], '\n')
	if at < 0 {
		l.scanned = l.end
		if l.skipping {
			l.start = l.end
		}
		return nil, lineNone
	}
	line := l.buf[l.start : l.scanned+at]
	l.start = l.scanned + at + 1
	l.scanned = l.start
	return l.judge(line)
}

// last gives what is behind the last line feed, at the end of the body.
func (l *lineReader) last() ([]byte, lineState) {
	line := l.buf[l.start:l.end]
	l.start, l.scanned = l.end, l.end
	if len(line) == 0 && !l.skipping {
		return nil, lineNone
	}
	return l.judge(line)
}

// judge counts a line and tells whether it is too long.
func (l *lineReader) judge(line []byte) ([]byte, lineState) {
	l.number++
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if l.skipping || len(line) > l.max {
		l.skipping = false
		return nil, lineTooLong
	}
	return line, lineWhole
}
